"""What the gateway costs beside a plain Envoy: throughput, latency and CPU, as ratios within one run.

`python bench/gateway_tax.py` prints a table; with `--write` it goes into docs/performance.md. Rows and
targets are in tax/rows.py. The targets hold before the default upstream; before the others there is no verdict, and
the exit status says only that the run is worth something. Run by hand on a quiet machine, never in tests.
"""

import argparse
import os
import platform
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from tax.load import INSTALL, Load, apply
from tax.measure import Measure, median, rounds
from tax.page import write
from tax.processes import FailedError, Processes
from tax.report import Run, all_reached, section
from tax.rows import HELD_TO_TARGETS, ROWS, Row, Upstream
from tax.stage import program, set_up

WARM_UP_SECONDS = 2
CORES = os.cpu_count() or 1


def main(arguments: Sequence[str]) -> int:
    """Run, and give the exit status: 0 done, 1 the run is worth nothing, 2 a target was missed."""
    options = _options(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is ended
    try:
        load = Load(program("wrk", INSTALL), options.seconds, options.connections)
        medians, foreign = _run(load, options.rounds, options.upstream)
        text = section(_described(arguments, options.rounds, foreign), options.upstream, medians)
    except FailedError as failed:
        print(f"gateway_tax: {failed}", file=sys.stderr)
        return 1
    print(text)
    if options.write:
        write(f"gateway_tax:{options.upstream}", text)
    return 0 if all_reached(options.upstream, medians) else 2


def _run(load: Load, count: int, upstream: Upstream) -> tuple[dict[Row, Measure], float]:
    """Give the medians, and the share of the machine that others used."""
    with tempfile.TemporaryDirectory(prefix="gateway-tax-") as folder, Processes(Path(folder)) as processes:
        stage = set_up(processes, Path(folder), upstream)
        for row in ROWS:
            apply(Load(load.wrk, WARM_UP_SECONDS, load.connections), stage, row)
        began, before = time.monotonic(), processes.foreign_cpu_seconds()
        measured = rounds(load, stage, count)
        foreign = (processes.foreign_cpu_seconds() - before) / (time.monotonic() - began) / CORES
        processes.check()
    return {row: median(measures) for row, measures in measured.items()}, max(0.0, foreign)


def _described(arguments: Sequence[str], count: int, foreign: float) -> Run:
    told = subprocess.run(
        (program("envoy", ""), "--version"), capture_output=True, text=True, check=True
    ).stdout
    version = re.search(r"/(\d+\.\d+\.\d+)", told)
    return Run(
        command=" ".join(("python bench/gateway_tax.py", *arguments)),
        day=datetime.now(UTC).date(),
        cores=CORES,
        envoy=version.group(1) if version else "of unknown version",
        python=platform.python_version(),
        rounds=count,
        foreign=foreign,
    )


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=int, default=2, help="of load on each row, in each round (2)")
    parser.add_argument("--connections", type=int, default=32, help="kept alive at once (32)")
    parser.add_argument("--rounds", type=int, default=12, help="over all rows; medians are told (12)")
    parser.add_argument(
        "--upstream",
        type=Upstream,
        choices=list(Upstream),
        default=HELD_TO_TARGETS,
        help=f"behind the proxies; the targets hold before {HELD_TO_TARGETS}, which is the default",
    )
    parser.add_argument("--write", action="store_true", help="replace the table in docs/performance.md")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
