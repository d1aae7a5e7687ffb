"""One row under load, and alone on one connection: what wrk saw, and what it cost. Then the medians over the rounds."""

import itertools
import json
import os
import statistics
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

from tax.processes import FailedError, cpu_seconds, megabytes

from bodies.rows import HOST, Proxy, Row
from bodies.stage import Stage

SCRIPT = Path(__file__).with_name("body.lua")
GRACE_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Load:
    """The program, and how long it loads each row."""

    wrk: str
    seconds: int


@dataclass(frozen=True, slots=True)
class Measure:
    """One row of one round, or the medians of several: CPU in microseconds a request, latencies without load."""

    throughput: float
    ratio: float
    p50_us: float
    p99_us: float
    added_p50_us: float
    added_p99_us: float
    envoy_us: float
    extproc_us: float
    envoy_mb: float
    extproc_mb: float


def rounds(load: Load, stage: Stage, wanted: Sequence[Row], count: int) -> dict[Row, Measure]:
    """Measure every row in every round, each beside plain in the same round; give the medians.

    Who begins with a body is another one in each round: a row may pay for what the one before has left.
    """
    measured: dict[Row, list[Measure]] = {row: [] for row in wanted}
    for turn, (_, same) in itertools.product(range(count), _by_body(wanted)):
        first = turn % len(same)
        found = {row: _measure(load, stage, row) for row in (*same[first:], *same[:first])}
        [plain] = [measure for row, measure in found.items() if row.proxy is Proxy.PLAIN]
        for row, measure in found.items():
            measured[row].append(_beside(measure, plain))
    return {row: _median(measures) for row, measures in measured.items()}


def _by_body(wanted: Sequence[Row]) -> list[tuple[str, list[Row]]]:
    return [(name, list(same)) for name, same in itertools.groupby(wanted, lambda row: row.body.name)]


def _beside(measure: Measure, plain: Measure) -> Measure:
    return replace(
        measure,
        ratio=measure.throughput / plain.throughput,
        added_p50_us=measure.p50_us - plain.p50_us,
        added_p99_us=measure.p99_us - plain.p99_us,
    )


def warm_up(load: Load, stage: Stage, wanted: Sequence[Row]) -> None:
    """Load every row once, for nothing."""
    for row in wanted:
        _apply(load, stage, row, row.body.connections)


def _measure(load: Load, stage: Stage, row: Row) -> Measure:
    """Measure a row by itself; what it is beside plain comes after."""
    envoy, extproc = stage.envoys[row.proxy].pid, stage.extproc
    before = cpu_seconds(envoy), cpu_seconds(extproc)
    seen = _apply(load, stage, row, row.body.connections)
    after = cpu_seconds(envoy), cpu_seconds(extproc)
    memory = megabytes(envoy), megabytes(extproc)
    alone = _apply(load, stage, row, 1)
    return Measure(
        seen["requests"] / seen["seconds"],
        1.0,
        alone["p50_us"],
        alone["p99_us"],
        0.0,
        0.0,
        (after[0] - before[0]) / seen["requests"] * 1e6,
        (after[1] - before[1]) / seen["requests"] * 1e6,
        *memory,
    )


def _apply(load: Load, stage: Stage, row: Row, connections: int) -> dict[str, float]:
    """Put a row under load. Raises FailedError when wrk does, or a request: a fast refusal is not throughput."""
    options = ("-t1", f"-c{connections}", f"-d{load.seconds}s", "--timeout", "20s", "-s", str(SCRIPT))
    told = {
        "BODY_FILE": str(stage.files[row.body]),
        "BODY_HOST": HOST,
        "BODY_CHUNKS": str(row.body.chunks or 1),
    }
    ran = subprocess.run(
        (load.wrk, *options, stage.envoys[row.proxy].url),
        capture_output=True,
        text=True,
        check=False,
        timeout=load.seconds + GRACE_SECONDS,
        env={**os.environ, **told},
    )
    if ran.returncode:
        raise FailedError(f"wrk failed: {(ran.stderr or ran.stdout).strip()}")
    seen: dict[str, float] = json.loads(ran.stdout.strip().splitlines()[-1])
    if seen["failed"] or not seen["requests"]:
        raise FailedError(
            f"{row.proxy}, {row.body.name}: {seen['failed']} of {seen['requests']} requests failed"
        )
    return seen


def _median(measures: Sequence[Measure]) -> Measure:
    return Measure(
        *(statistics.median(getattr(one, field.name) for one in measures) for field in fields(Measure))
    )
