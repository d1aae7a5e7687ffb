"""What routing by the body costs beside a plain Envoy: throughput, latency, CPU and memory, within one run.

`python bench/body_routing.py` prints a table; with `--write` it goes into docs/performance.md. Rows and targets are in
bodies/rows.py; authentication is left out, which bench/gateway_tax.py measures. The targets hold before the default
upstream. Run by hand on a quiet machine, never in tests.
"""

import argparse
import os
import signal
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from bodies.measure import Load, Measure, rounds, warm_up
from bodies.report import all_reached, table
from bodies.rows import HELD_TO_TARGETS, Row, Upstream, rows
from bodies.stage import set_up
from tax.load import INSTALL
from tax.page import source, write
from tax.processes import FailedError, Processes
from tax.stage import program

CORES = os.cpu_count() or 1


def main(arguments: Sequence[str]) -> int:
    """Run, and give the exit status: 0 done, 1 the run is worth nothing, 2 a target was missed."""
    options = _options(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is ended
    try:
        load = Load(program("wrk", INSTALL), options.seconds)
        medians, foreign = _run(load, options.rounds, options.upstream, rows(options.only))
    except FailedError as failed:
        print(f"body_routing: {failed}", file=sys.stderr)
        return 1
    made = f"{source('body_routing.py', arguments)} Medians of {options.rounds} rounds; "
    text = f"{table(options.upstream, medians)}\n\n{made}other programs used {foreign:.0%} of the machine."
    print(text)
    if options.write:
        write(f"body_routing:{options.upstream}", text)
    return 0 if all_reached(options.upstream, medians) else 2


def _run(
    load: Load, count: int, upstream: Upstream, wanted: Sequence[Row]
) -> tuple[Mapping[Row, Measure], float]:
    """Give the medians, and the share of the machine that others used."""
    with tempfile.TemporaryDirectory(prefix="body-routing-") as folder, Processes(Path(folder)) as processes:
        stage = set_up(processes, Path(folder), upstream, wanted)
        warm_up(Load(load.wrk, 1), stage, wanted)
        began, before = time.monotonic(), processes.foreign_cpu_seconds()
        medians = rounds(load, stage, wanted, count)
        foreign = (processes.foreign_cpu_seconds() - before) / (time.monotonic() - began) / CORES
        processes.check()
    return medians, max(0.0, foreign)


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=int, default=2, help="of load on each row, twice in each round (2)")
    parser.add_argument("--rounds", type=int, default=5, help="over all rows; medians are told (5)")
    parser.add_argument(
        "--upstream",
        type=Upstream,
        choices=list(Upstream),
        default=HELD_TO_TARGETS,
        help=f"behind the proxies; the targets hold before {HELD_TO_TARGETS}, which is the default",
    )
    parser.add_argument("--only", default="", help="the bodies whose names have this in them, as '1 kB'")
    parser.add_argument("--write", action="store_true", help="replace the table in docs/performance.md")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
