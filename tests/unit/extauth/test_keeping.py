"""The secret that keys the hashes of tokens, and its file."""

import multiprocessing
import re
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest
from igw_extauth.hashing import SECRET_BYTES
from igw_extauth.host.keeping import SecretFileError, secret_of


def test_without_a_file_each_start_has_its_own() -> None:
    """Then nobody shares what is kept under it."""
    first, second = secret_of(None), secret_of(None)
    assert (len(first), len(second)) == (SECRET_BYTES, SECRET_BYTES)
    assert first != second


def test_a_file_is_made_once_and_read_from_then_on(tmp_path: Path) -> None:
    """In hex, for its owner alone, and nothing else is left in the folder."""
    path = tmp_path / "secret"
    made = secret_of(path)
    assert secret_of(path) == made
    assert path.read_text() == made.hex()
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("around", ["", "\n", "\r\n"])
def test_an_operator_may_write_it(tmp_path: Path, around: str) -> None:
    """A line end behind it is what editors leave."""
    path = tmp_path / "secret"
    path.write_text("aB" * SECRET_BYTES + around, newline="")
    assert secret_of(path) == b"\xab" * SECRET_BYTES


@pytest.mark.parametrize("text", ["", "ab", "ab" * 31, "ab" * 33, "zz" * 32, "é" * 32])
def test_a_file_that_holds_no_secret_is_named_and_not_quoted(tmp_path: Path, text: str) -> None:
    """A short one would be no secret; it is not replaced, for others may use it."""
    path = tmp_path / "secret"
    path.write_text(text)
    with pytest.raises(SecretFileError, match=re.escape(str(path))) as failure:
        secret_of(path)
    assert not text or text not in str(failure.value)
    assert path.read_text() == text


def test_a_file_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    """The folder must be there."""
    with pytest.raises(SecretFileError, match="No such file"):
        secret_of(tmp_path / "none" / "secret")


def _read(path: Path, barrier: Barrier, found: "multiprocessing.Queue[bytes]") -> None:
    barrier.wait()
    found.put(secret_of(path))


def test_all_that_start_at_once_get_the_same(tmp_path: Path) -> None:
    """Else hosts would not find what the others keep."""
    context = multiprocessing.get_context("fork")
    barrier, found = context.Barrier(6), context.Queue()
    for attempt in range(3):
        path = tmp_path / str(attempt)
        processes = [context.Process(target=_read, args=(path, barrier, found)) for _ in range(6)]
        for process in processes:
            process.start()
        assert len({found.get(timeout=5) for _ in processes}) == 1
        for process in processes:
            process.join()
