"""Programs that the benchmark starts: each one's output in a file, its CPU time, all ended by their ids."""

import contextlib
import os
import re
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

STOP_SECONDS = 8.0
READY_SECONDS = 30.0
POLL_SECONDS = 0.1
TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")


class FailedError(Exception):
    """The run is worth nothing; the text says why, for people."""


class Processes:
    """The running programs by name; leaving the context ends them, the last first."""

    def __init__(self, folder: Path) -> None:
        """Keep the programs' output in a folder."""
        self._folder = folder
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str, argv: Sequence[str], environment: Mapping[str, str] | None = None) -> int:
        """Start a program and give its process id."""
        with self._log(name).open("wb") as log:
            # A session of its own: a Ctrl-C at the terminal is for the benchmark, which then ends the rest.
            process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(environment or {})},
                start_new_session=True,
            )
        self._running[name] = process
        return process.pid

    def stop(self, name: str) -> None:
        """End one program and wait until it has gone."""
        process = self._running.pop(name)
        process.terminate()
        process.wait(STOP_SECONDS)

    def wait(self, what: str, trouble: Callable[[], str]) -> None:
        """Wait until there is no trouble; FailedError when it takes too long or a program has ended."""
        deadline = time.monotonic() + READY_SECONDS
        while reason := trouble():
            self.check()
            if time.monotonic() > deadline:
                raise FailedError(f"{what}: not ready after {READY_SECONDS:.0f} s: {reason}\n{self._tails()}")
            time.sleep(POLL_SECONDS)

    def check(self) -> None:
        """Raise FailedError, with its last words, if a program has ended."""
        for name, process in self._running.items():
            if process.poll() is not None:
                raise FailedError(f"{name} ended with status {process.returncode}\n{self._tail(name)}")

    def foreign_cpu_seconds(self) -> float:
        """Give the CPU time so far that neither we, nor what we started, nor what we waited for has used."""
        ours = sum(os.times()[:4]) + sum(cpu_seconds(process.pid) for process in self._running.values())
        return machine_cpu_seconds() - ours

    def __enter__(self) -> Self:
        """Begin with nothing running."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Ask every program to end; kill what has not gone in time."""
        for process in reversed(self._running.values()):
            process.terminate()
        for process in self._running.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(STOP_SECONDS)
            process.kill()
            process.wait()

    def _log(self, name: str) -> Path:
        return self._folder / f"{name}.log"

    def _tail(self, name: str) -> str:
        return "\n".join(self._log(name).read_text(errors="replace").splitlines()[-10:])

    def _tails(self) -> str:
        return "\n".join(f"--- {name}\n{self._tail(name)}" for name in self._running)


def machine_cpu_seconds() -> float:
    """Give the CPU time so far of the whole machine, with what its host took away (proc(5), /proc/stat)."""
    first, _, _ = Path("/proc/stat").read_text(encoding="ascii").partition("\n")
    user, nice, system, _idle, _iowait, irq, softirq, steal, *_ = map(int, first.split()[1:])
    return (user + nice + system + irq + softirq + steal) / TICKS_A_SECOND


def megabytes(pid: int) -> float:
    """Give the resident memory of a process (proc(5), status: VmRSS)."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace")
    found = re.search(r"^VmRSS:\s+(\d+) kB$", status, re.MULTILINE)
    return int(found[1]) / 1024 if found else 0.0


def cpu_seconds(pid: int) -> float:
    """Give the CPU time of a process and its threads so far, user and system (proc(5): utime, stime)."""
    stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    fields = stat.rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_A_SECOND
