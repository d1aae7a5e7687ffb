"""Files are put in place whole, by who may, for who could read them before; and are read with bounds."""

import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from igw_certs.files import MOST_BYTES, PRIVATE, PUBLIC, UnreadableError, content, place, signature

from tests.unit.certs.signing import write

ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
SOMEBODY, SOME_GROUP = 12345, 12346


def mode(path: Path) -> int:
    """Give who may do what with a file."""
    return stat.S_IMODE(path.stat().st_mode)


def test_files_are_placed_with_their_modes(tmp_path: Path) -> None:
    """Nothing else is left; what was there is replaced, a link too, and not written through."""
    target = tmp_path / "elsewhere"
    target.write_bytes(b"another's")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "key").symlink_to(target)
    write(tmp_path / "out", {"crt": b"old"})
    place(tmp_path / "out", {"crt": (b"a", PUBLIC), "key": (b"b", PRIVATE)})
    found = {path.name: (path.read_bytes(), mode(path)) for path in (tmp_path / "out").iterdir()}
    assert found == {"crt": (b"a", 0o644), "key": (b"b", 0o600)}
    assert not (tmp_path / "out" / "key").is_symlink()
    assert target.read_bytes() == b"another's"


def test_a_group_that_could_read_still_can(tmp_path: Path) -> None:
    """A service may run in it; a key that everybody could read was meant for no group."""
    path = write(tmp_path, {"key": b"old"}) / "key"
    for before, after in ((0o640, 0o640), (0o660, 0o640), (0o600, 0o600), (0o644, 0o600)):
        path.chmod(before)
        place(tmp_path, {"key": (b"new", PRIVATE)})
        assert mode(path) == after
        path.chmod(0o600)
        place(tmp_path, {"key": (b"new", PRIVATE)})


@ROOT
def test_who_owned_a_file_owns_the_next(tmp_path: Path) -> None:
    """Root renews what a service reads."""
    path = write(tmp_path, {"key": b"old"}) / "key"
    os.chown(path, SOMEBODY, SOME_GROUP)
    place(tmp_path, {"key": (b"new", PRIVATE)})
    assert (path.stat().st_uid, path.stat().st_gid, mode(path)) == (SOMEBODY, SOME_GROUP, 0o600)


@ROOT
def test_who_may_not_give_a_file_away_is_told(tmp_path: Path) -> None:
    """And nothing changed: the service could not read a file of another user."""
    write(tmp_path, {"crt": b"old", "key": b"old"})
    tmp_path.chmod(0o777)
    script = (
        "import os; from pathlib import Path; from igw_certs.files import place; os.setuid(12345)\n"
        "place(Path(), {'crt': (b'new', 0o644), 'key': (b'new', 0o600)})"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert "crt belongs to the user 0: run this as that one or as root" in done.stderr
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"crt": b"old", "key": b"old"}


def test_what_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    """Neither a draft nor the files before it."""
    (tmp_path / "key").mkdir()
    (tmp_path / "key" / "in-the-way").touch()
    with pytest.raises(OSError, match="Is a directory"):
        place(tmp_path, {"key": (b"b", PRIVATE), "crt": (b"a", PUBLIC)})
    assert [path.name for path in tmp_path.iterdir()] == ["key"]
    with pytest.raises(FileNotFoundError):
        place(tmp_path / "nowhere", {"crt": (b"a", PUBLIC)})


def test_nobody_sees_half_of_a_file(tmp_path: Path) -> None:
    """Whoever reads while another writes has the old or the new."""
    texts = [bytes([letter]) * 100_000 for letter in b"ab"]
    place(tmp_path, {"crt": (texts[0], PUBLIC)})
    seen: set[bytes] = set()
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            seen.add(content(tmp_path / "crt"))

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(100):
        place(tmp_path, {"crt": (texts[number % 2], PUBLIC)})
    done.set()
    reader.join()
    assert seen <= set(texts)


def test_a_file_is_read_up_to_a_bound(tmp_path: Path) -> None:
    """Not one byte more; and each that cannot be is named."""
    write(tmp_path, {"most": b"x" * MOST_BYTES, "more": b"x" * (MOST_BYTES + 1)})
    assert content(tmp_path / "most") == b"x" * MOST_BYTES
    for name, said in (
        ("more", "more has more than 256 KiB"),
        ("none", "none is missing"),
        ("most/x", "x cannot be read: Not a directory"),
    ):
        with pytest.raises(UnreadableError) as caught:
            content(tmp_path / name)
        assert str(caught.value) == said


def test_reading_leaves_nothing_open(tmp_path: Path) -> None:
    """Also of what is no file: this is done twice a second for years."""
    write(tmp_path, {"file": b"x"})
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(20):
        content(tmp_path / "file")
        with pytest.raises(UnreadableError):
            content(tmp_path)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_a_signature_tells_every_change(tmp_path: Path) -> None:
    """Of content of the same length too, of a link's target, and where a tool puts the old time back."""
    path = write(tmp_path, {"file": b"x", "other": b"y"}) / "file"
    link = tmp_path / "link"
    link.symlink_to("file")
    seen = [signature(link)]
    time = path.stat().st_mtime_ns
    path.write_bytes(b"y")
    os.utime(path, ns=(time, time))
    seen.append(signature(link))
    link.unlink()
    link.symlink_to("other")
    seen.append(signature(link))
    (tmp_path / "other").unlink()
    seen.append(signature(link))
    assert len(set(seen)) == len(seen)
    assert seen[-1] is None
    assert signature(path) == signature(path)
