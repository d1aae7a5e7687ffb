"""Several processes on one file, and processes that are killed: what was answered is there, whole."""

import random
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from igw_model.record import Kind
from igw_store.store import Reading

from tests.builders import deployment_id, gateway_id
from tests.unit.store.process import AT_ONCE, NAMES, opened
from tests.unit.store.records import deployment_record, event, gateway_record, hosts, on, replica, soon

ROOT = Path(__file__).parents[3]


@contextmanager
def process(*arguments: object) -> Iterator[subprocess.Popen[str]]:
    """Start another process of the store; it is gone at the end."""
    command = [sys.executable, "-m", "tests.unit.store.process", *map(str, arguments)]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as started:
        try:
            yield started
        finally:
            started.kill()


def said(started: subprocess.Popen[str]) -> str:
    """Give the next line that a process prints."""
    assert started.stdout is not None
    return started.stdout.readline().strip()


def tell(started: subprocess.Popen[str], text: object) -> None:
    """Give a process a line."""
    assert started.stdin is not None
    started.stdin.write(f"{text}\n")
    started.stdin.flush()


async def test_one_of_two_processes_wins_a_name(tmp_path: Path) -> None:
    """Two processes create the same names at once: each name is won once, and that one is in the store."""
    with process("create", tmp_path, 0) as one, process("create", tmp_path, 1) as other:
        both = (one, other)
        assert [said(started) for started in both] == ["ready", "ready"]
        for started in both:
            tell(started, "go")
        won = [started.communicate(timeout=60)[0].split() for started in both]
    names = {f"name-{n}" for n in range(NAMES)}
    assert sorted([*won[0], *won[1]]) == sorted(names)
    store = await opened(tmp_path)
    found = await store.read(lambda view: view.list(Kind.GATEWAY, None))
    await store.aclose()
    expected = {(name, gateway_id(p * NAMES + int(name[5:]))) for p in (0, 1) for name in won[p]}
    assert {(record.name, record.id) for record in found} == expected


async def test_a_watch_sees_another_process(tmp_path: Path) -> None:
    """What another process writes comes as a change, once; one's own comes too."""
    store = await opened(tmp_path)
    watch = store.watch()
    assert (await soon(watch)).records == {}
    with process("put", tmp_path) as other:
        for number in (1, 2):
            tell(other, number)
            assert said(other) == str(number)
            record = gateway_record(number)
            assert (await soon(watch)).records == {(record.kind, record.id): record}
        mine = gateway_record(3)
        await store.write(lambda w: w.put(mine))
        assert (await soon(watch)).records == {(mine.kind, mine.id): mine}
    await store.aclose()


def test_processes_that_make_the_file_at_once(tmp_path: Path) -> None:
    """The file, its schema and the key are made once, whoever comes first; all processes start."""
    with (
        process("open", tmp_path) as one,
        process("open", tmp_path) as two,
        process("open", tmp_path) as three,
    ):
        for started in (one, two, three):
            tell(started, "go")
        assert [started.wait(60) for started in (one, two, three)] == [0, 0, 0]


@dataclass(frozen=True)
class Life:
    """One process that wrote from `first` until it was killed, and the numbers that it answered."""

    first: int
    answered: frozenset[int]


def lived(folder: Path, first: int, seconds: float, *, from_start: bool) -> Life:
    """Let a process write, and kill it some time after its start, or after its first answer."""
    with process("write", folder, first) as writing:
        answers = [] if from_start else [int(said(writing))]
        time.sleep(seconds)
        writing.kill()
        assert writing.stdout is not None
        return Life(first, frozenset(answers) | {int(line) for line in writing.stdout.read().split()})


def whole(view: Reading) -> set[int]:
    """Give the numbers in the store; whatever belongs to one must be there as it was written."""
    events = view.events("acme", limit=1_000_000)
    numbers = {int(e.id[-12:]) for e in events}
    assert [e.number for e in events] == list(range(1, len(numbers) + 1))
    for e in events:
        number = int(e.id[-12:])
        gateway, deployment = (
            gateway_record(number, hosts(f"h{number}.example.com")),
            deployment_record(number, on(number)),
        )
        assert view.get(Kind.GATEWAY, gateway_id(number)) == gateway
        assert view.get(Kind.DEPLOYMENT, deployment_id(number)) == deployment
        assert view.host_owner(f"h{number}.example.com") == gateway.id
        assert view.attached(gateway.id)
        assert view.replicas(deployment.id) == [replica(deployment=number)]
        assert replace(event(number), number=e.number) == e
    assert len(view.list(Kind.GATEWAY, None)) == len(view.list(Kind.DEPLOYMENT, None)) == len(numbers)
    return numbers


@pytest.mark.timeout(300)
async def test_kill_9_loses_nothing_that_was_answered(tmp_path: Path) -> None:
    """Over 200 answered writes of processes that are killed at random moments, all of them are there, whole.

    What is there beyond them is at most what a killed process was still to answer: it wrote four at a time.
    """
    moments = random.Random(3)  # noqa: S311 - a seed, to have the same again
    lives: list[Life] = []
    while sum(len(life.answered) for life in lives) < 200:
        first = 1 + 1000 * len(lives)
        from_start = len(lives) % 8 == 0
        seconds = moments.uniform(0.2, 1.5) if from_start else moments.uniform(0, 0.25)
        lives.append(lived(tmp_path, first, seconds, from_start=from_start))
    with sqlite3.connect(tmp_path / "store.db") as raw:
        assert raw.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    raw.close()
    store = await opened(tmp_path)
    found = await store.read(whole)
    await store.aclose()
    for life in lives:
        kept = {number for number in found if number // 1000 == life.first // 1000}
        assert life.answered <= kept
        assert len(kept - life.answered) <= AT_ONCE
