"""What fuzzing keeps, tried again without it; and each target under atheris for a moment, so that `make fuzz` works."""

import importlib.util
import json
import logging
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fuzz.__main__ import BEGIN, END, main
from fuzz.chunks import chunkings
from fuzz.keep import keep
from fuzz.run import Tried, tried
from fuzz.target import MOST_BYTES, MOST_FILES, NAMES, corpus, kept, packages, target

SECONDS = 1
"""Of processor time, for one input; the slowest takes a twentieth of it."""


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """What is said of each bad input is nobody's to read."""
    logging.disable()
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_kept_breaks_nothing(name: str) -> None:
    """Each rule of a target holds for all inputs that are kept, those that once broke it too, and none takes long."""
    tried_one = target(name)
    inputs = list(kept(name))
    assert inputs
    for path in inputs:
        began = time.process_time()
        tried_one.check(path.read_bytes())
        assert time.process_time() - began < SECONDS, path


@pytest.mark.parametrize("name", NAMES)
def test_corpora_are_small(name: str) -> None:
    """They are in the repository, for ever."""
    sizes = [path.stat().st_size for path in corpus(name).iterdir()]
    assert len(sizes) <= MOST_FILES
    assert sum(sizes) <= MOST_BYTES


def test_chunks_are_all_of_the_bytes() -> None:
    """However bytes are cut, nothing is lost, and the same bytes are cut alike."""
    data = bytes(range(200))
    assert [b"".join(chunks) for chunks in chunkings(data)] == [data] * 4
    assert list(chunkings(data)) == list(chunkings(data))


@pytest.mark.parametrize("name", NAMES)
def test_atheris_tries_each_target(name: str, tmp_path: Path) -> None:
    """Under coverage, with made-up inputs: nothing breaks in a second or so, and code is watched."""
    _needs_atheris()
    result = tried(name, 1, work=tmp_path, broken=tmp_path / "broken")
    assert not result.broke, (tmp_path / f"{name}.log").read_text(errors="replace")[-4000:]
    assert result.inputs > len(list(kept(name)))
    assert result.coverage > 10, packages(name)


def test_what_breaks_a_target_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rule that does not hold ends the run, and its input is written for the tests to replay."""
    _needs_atheris()
    (tmp_path / "sitecustomize.py").write_text(
        "from igw_extproc.json_body import JsonBody\nJsonBody.end = lambda self: {}[0]\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    result = tried("json_body", 10, work=tmp_path, broken=tmp_path / "broken")
    [broke] = (tmp_path / "broken").iterdir()
    assert result.broke == str(broke)
    target("json_body").check(broke.read_bytes())  # it is that process's fault, not this one's


def test_keeping_stays_within_the_bounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What reaches more is added, smallest first."""
    _needs_atheris()
    folder, found = tmp_path / "kept", tmp_path / "corpus" / "paths"
    found.mkdir(parents=True)
    for number in range(MOST_FILES):
        (found / str(number)).write_bytes(b"abcd\n" + b"%" * number)
    monkeypatch.setattr("fuzz.keep.WORK", tmp_path)
    monkeypatch.setattr("fuzz.keep.corpus", lambda _: folder)
    assert 0 < keep("paths") < MOST_FILES


def test_the_page_tells_the_longest_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A short run does not take the place of a long one; what is around the table stays."""
    results, page = tmp_path / "results.jsonl", tmp_path / "fuzzing.md"
    runs = [ran(seconds=60, inputs=1), ran(seconds=600, inputs=12_345), ran(seconds=2, inputs=3)]
    results.write_text("".join(json.dumps(run.document()) + "\n" for run in runs))
    page.write_text(f"before\n{BEGIN}old\n{END}behind\n")
    monkeypatch.setattr("fuzz.__main__.RESULTS", results)
    monkeypatch.setattr("fuzz.__main__.PAGE", page)
    assert main(["--write"]) == 0
    row = "| `json_body` | 600 | 12,345 | 4 | 50, 51 | no |\n"
    begin, _, rest = page.read_text().partition(BEGIN)
    assert (begin, rest.partition(END)[2]) == ("before\n", "behind\n")
    assert rest.partition(END)[0].splitlines(keepends=True)[2:] == [row]


def ran(*, seconds: int, inputs: int) -> Tried:
    """What came of a run."""
    return Tried("json_body", seconds, inputs, 4, 5, 6, 0, 50, 51)


def _needs_atheris() -> None:
    """Skip without it; in CI its absence is a failure."""
    if importlib.util.find_spec("atheris") is None:
        if os.environ.get("CI"):
            pytest.fail("atheris is missing: the extra `fuzz`")
        pytest.skip("atheris is missing: the extra `fuzz`")
