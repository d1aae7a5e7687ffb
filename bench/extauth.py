"""What a check costs extauth: checks a second and CPU, cached and not, over HTTP and gRPC, in memory and with Redis.

`python bench/extauth.py` prints a table; with `--write` it goes into docs/performance.md. One extauth with one worker,
a real identity authority and a real Redis on the same machine. What a check costs end to end, as a ratio to plain
proxying, is `bench/gateway_tax.py`'s. Run by hand on a quiet machine, never in tests.
"""

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from checks.cached import INSTALL, Wire, answered
from checks.service import Service, redis, service
from checks.uncached import asked
from tax.page import source, write
from tax.processes import FailedError, Processes, cpu_seconds, megabytes
from tax.stage import program

TOKENS = 4000
CHECK_MICROSECONDS = 40
CHECKS_A_SECOND = 20_000


@dataclass(frozen=True, slots=True)
class Row:
    """What was measured: checks in so many seconds, and CPU seconds of extauth."""

    name: str
    checks: int
    seconds: float
    cpu: float
    megabytes: float

    def __str__(self) -> str:
        """Give the row of the table."""
        each = self.cpu / self.checks * 1e6
        figures = f"{self.checks / self.seconds:,.0f} | {self.checks / self.cpu:,.0f} | {each:.0f}"
        return f"| {self.name} | {figures} | {self.megabytes:.0f} |"


def main(arguments: Sequence[str]) -> int:
    """Run, and give the exit status: 0 done, 1 the run is worth nothing, 2 a target was missed."""
    options = _options(arguments)
    try:
        with tempfile.TemporaryDirectory(prefix="bench-extauth-") as folder:
            rows = list(_rows(Path(folder), options.seconds))
    except FailedError as failed:
        print(f"extauth: {failed}", file=sys.stderr)
        return 1
    held = rows[0]
    reached = held.checks / held.cpu >= CHECKS_A_SECOND and held.cpu / held.checks * 1e6 <= CHECK_MICROSECONDS
    verdict = (
        f"A cached check over HTTP/2, as our Envoys ask: at most {CHECK_MICROSECONDS} µs of CPU and at least "
        f"{CHECKS_A_SECOND:,} a second of a core: {'reached' if reached else 'MISSED'}."
    )
    head = "| check | checks/s | a CPU second | µs of CPU | MB |\n|:---|---:|---:|---:|---:|"
    text = "\n".join((source("extauth.py", arguments), "", head, *map(str, rows), "", verdict))
    print(text)
    if options.write:
        write("extauth", text)
    return 0 if reached else 2


def _rows(folder: Path, seconds: int) -> Iterator[Row]:
    with _processes(folder / "memory") as processes:
        extauth = service(processes, folder / "memory", TOKENS, None)
        yield from _served(extauth, "in memory", seconds)
    with _processes(folder / "redis") as processes:
        url = redis(processes, program("redis-server", "apt-get install redis-server"))
        extauth = service(processes, folder / "redis", TOKENS, url)
        yield from _served(extauth, "with Redis", seconds)
        yield _once(extauth.again(), "known to Redis alone", over_grpc=False)


def _served(extauth: Service, kept: str, seconds: int) -> Iterator[Row]:
    load = partial(answered, program("h2load", INSTALL), extauth, seconds=seconds)
    for wire in Wire:
        load(wire)
        yield _row(extauth, f"cached, {wire}, {kept}", partial(load, wire))
    half = len(extauth.tokens) // 2
    first, second = (
        replace(extauth, tokens=extauth.tokens[:half]),
        replace(extauth, tokens=extauth.tokens[half:]),
    )
    yield _once(first, f"never seen, HTTP/1.1, {kept}", over_grpc=False)
    yield _once(second, f"never seen, gRPC, {kept}", over_grpc=True)
    for wire in Wire:
        yield _row(extauth, f"limited, {wire}, {kept}", partial(load, wire, limited=True))


def _once(extauth: Service, name: str, *, over_grpc: bool) -> Row:
    """Ask for each of its tokens once."""
    return _row(extauth, name, lambda: asyncio.run(asked(extauth, extauth.tokens, over_grpc=over_grpc)))


def _row(extauth: Service, name: str, run: Callable[[], tuple[int, float]]) -> Row:
    before = cpu_seconds(extauth.pid)
    checks, seconds = run()
    return Row(name, checks, seconds, cpu_seconds(extauth.pid) - before, megabytes(extauth.pid))


@contextmanager
def _processes(folder: Path) -> Iterator[Processes]:
    folder.mkdir()
    with Processes(folder) as processes:
        yield processes


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=int, default=4, help="of load on each cached row (4)")
    parser.add_argument("--write", action="store_true", help="replace the table in docs/performance.md")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
