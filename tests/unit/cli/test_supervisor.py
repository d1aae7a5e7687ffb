"""Real child processes: kept running, read, ended in time, and never left behind."""

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path

import pytest_asyncio
from igw_cli.layout import Child
from igw_cli.supervisor import STOP_SECONDS, Supervisor

SLEEP = "import time; print('up', flush=True); time.sleep(60)"
STUBBORN = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {SLEEP}"
SOON = 10.0


class Watched:
    """A supervisor, what it showed, and the process ids that it told of."""

    def __init__(self) -> None:
        self.shown: list[tuple[str, str]] = []
        self.told: list[Mapping[str, int]] = []
        self.supervisor = Supervisor(self._show, lambda pids: self.told.append(dict(pids)))

    def _show(self, name: str, line: str) -> None:
        """Keep a line, but for what gRPC, loaded by other tests, writes into a child before it is one."""
        if "fork_posix.cc" not in line:
            self.shown.append((name, line))

    def start(self, **scripts: str) -> None:
        """Start a Python script under each name."""
        self.supervisor.start(Child(name, (sys.executable, "-c", code)) for name, code in scripts.items())

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until something holds."""
        deadline = time.monotonic() + SOON
        while not condition():
            assert time.monotonic() < deadline, (self.shown, self.told)
            await asyncio.sleep(0.02)


@pytest_asyncio.fixture
async def watched() -> AsyncIterator[Watched]:
    """Give a supervisor that is stopped with the test."""
    made = Watched()
    yield made
    await made.supervisor.stop()
    assert made.supervisor.pids == {}


def runs(pid: int) -> bool:
    """Tell whether a process is there; one that has ended and not been waited for is not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def test_output_is_shown_line_by_line(watched: Watched) -> None:
    """Both outputs, whole lines, bytes that are no text, and a line beyond the limit."""
    code = (
        "import sys, time; print('out', flush=True); sys.stderr.write('err\\n'); sys.stderr.flush();"
        "sys.stdout.buffer.write(b'\\xff\\n' + b'x' * 3_000_000 + b'\\nafter\\n'); sys.stdout.flush(); time.sleep(60)"
    )
    watched.start(a=code)
    await watched.until(lambda: ("a", "after") in watched.shown)
    assert watched.shown[:3] == [("a", "out"), ("a", "err"), ("a", "\N{REPLACEMENT CHARACTER}")]


async def test_a_child_that_dies_is_started_again(watched: Watched) -> None:
    """A death is told with its cause, and the new process id is told of."""
    watched.start(a=SLEEP)
    await watched.until(lambda: ("a", "up") in watched.shown)
    first = watched.supervisor.pids["a"]
    os.kill(first, signal.SIGKILL)
    await watched.until(lambda: watched.shown.count(("a", "up")) == 2)
    assert ("a", "ended (SIGKILL); starting it again in 0.2 s") in watched.shown
    assert [told["a"] for told in watched.told] == [first, watched.supervisor.pids["a"]]
    assert not runs(first)


async def test_pauses_grow(watched: Watched) -> None:
    """A child that cannot start is not tried without pause."""
    watched.start(a="raise SystemExit(3)")
    await watched.until(lambda: len(watched.shown) == 3)
    assert watched.shown == [
        ("a", f"ended (exit status 3); starting it again in {pause} s") for pause in ("0.2", "0.4", "0.8")
    ]


async def test_all_end_together(watched: Watched) -> None:
    """Every child ends when asked, and is not started again."""
    watched.start(a=SLEEP, b=SLEEP)
    await watched.until(lambda: len(watched.shown) == 2)
    pids = list(watched.supervisor.pids.values())
    began = time.monotonic()
    await watched.supervisor.stop()
    assert time.monotonic() - began < STOP_SECONDS
    assert not any(map(runs, pids))
    assert all("again" not in line for _, line in watched.shown)


async def test_a_stubborn_child_is_killed(watched: Watched) -> None:
    """A child that does not go when asked is killed: stopping takes no longer than it may."""
    watched.start(a=STUBBORN)
    await watched.until(lambda: ("a", "up") in watched.shown)
    pid, began = watched.supervisor.pids["a"], time.monotonic()
    await watched.supervisor.stop()
    assert STOP_SECONDS <= time.monotonic() - began < STOP_SECONDS + 2
    assert not runs(pid)


async def test_a_child_between_two_starts(watched: Watched) -> None:
    """Stopping need not wait until a dead child would have been started again."""
    watched.start(a="raise SystemExit(1)")
    await watched.until(lambda: len(watched.shown) == 4)
    began = time.monotonic()
    await watched.supervisor.stop()
    assert time.monotonic() - began < 1
    assert watched.supervisor.pids == {}


async def test_stopping_while_children_start(watched: Watched) -> None:
    """A child whose start has only begun is ended too."""
    watched.start(a=SLEEP, b=SLEEP)
    await watched.supervisor.stop()
    assert watched.supervisor.pids == {}


SUPERVISE = """
import asyncio, sys
from igw_cli.layout import Child
from igw_cli.supervisor import Supervisor
async def main():
    supervisor = Supervisor(lambda *line: None, lambda pids: print(*pids.values(), flush=True))
    supervisor.start([Child(n, (sys.executable, "-c", "import time; time.sleep(60)")) for n in "ab"])
    await asyncio.sleep(60)
asyncio.run(main())
"""


async def test_no_child_outlives_a_killed_supervisor(watched: Watched) -> None:
    """Even SIGKILL, which nobody can handle, leaves no process behind."""
    command = (sys.executable, "-c", SUPERVISE)
    supervisor = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    assert supervisor.stdout is not None
    lines = [await supervisor.stdout.readline() for _ in "ab"]
    pids = [int(pid) for pid in lines[-1].split()]
    assert len(pids) == 2
    assert all(map(runs, pids))
    supervisor.kill()
    await supervisor.wait()
    await watched.until(lambda: not any(map(runs, pids)))
