"""One row under load: what wrk saw, and what it cost Envoy and Python. Then the medians over the rounds.

Requests, checks and exchanges are counted by the Envoy under test itself.
"""

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import httpx
from igw_xds import names

from tax.load import Load, Seen, apply
from tax.processes import FailedError, cpu_seconds
from tax.proxies import STAT_PREFIX
from tax.rows import PLAIN, ROWS, Row
from tax.stage import Envoy, Stage

CLASSES = ("1xx", "2xx", "3xx", "4xx", "5xx")
STATS = "^(http.{}.downstream_rq_.xx|cluster.igw-ext[a-z]+.upstream_rq_total)$"


@dataclass(frozen=True, slots=True)
class Sample:
    """What has been counted and spent until now; CPU in seconds."""

    answers: Mapping[str, int]
    checks: int
    exchanges: int
    envoy: float
    extauth: float
    extproc: float


@dataclass(frozen=True, slots=True)
class Measure:
    """One row of one round, or the medians of several; CPU in microseconds, None where nothing was asked."""

    throughput: float
    ratio: float
    p50_ms: float
    p99_ms: float
    envoy: float
    check: float | None
    exchange: float | None


def rounds(load: Load, stage: Stage, count: int) -> dict[Row, list[Measure]]:
    """Measure every row in every round, so that what else the machine does hits all of them alike."""
    measured: dict[Row, list[Measure]] = {row: [] for row in ROWS}
    for _ in range(count):
        plain = measure(load, stage, PLAIN, None)
        measured[PLAIN].append(plain)
        for row in ROWS:
            if row != PLAIN:
                measured[row].append(measure(load, stage, row, plain.throughput))
    return measured


def measure(load: Load, stage: Stage, row: Row, plain: float | None) -> Measure:
    """Measure a row once; `plain` is the plain proxy's throughput in this round."""
    before = _sample(stage, row)
    seen = apply(load, stage, row)
    after = _sample(stage, row)
    _refuse_failures(row, seen, before, after)
    return measured(seen, before, after, plain)


def measured(seen: Seen, before: Sample, after: Sample, plain: float | None) -> Measure:
    """Give the costs of what happened between two samples."""
    throughput = seen.requests / seen.seconds
    requests = after.answers["2xx"] - before.answers["2xx"]
    return Measure(
        throughput=throughput,
        ratio=throughput / plain if plain else 1.0,
        p50_ms=seen.p50_ms,
        p99_ms=seen.p99_ms,
        envoy=(after.envoy - before.envoy) / requests * 1e6,
        check=_each(after.extauth - before.extauth, after.checks - before.checks),
        exchange=_each(after.extproc - before.extproc, after.exchanges - before.exchanges),
    )


def median(measures: Sequence[Measure]) -> Measure:
    """Give the median of every figure."""
    return Measure(
        throughput=statistics.median(m.throughput for m in measures),
        ratio=statistics.median(m.ratio for m in measures),
        p50_ms=statistics.median(m.p50_ms for m in measures),
        p99_ms=statistics.median(m.p99_ms for m in measures),
        envoy=statistics.median(m.envoy for m in measures),
        check=_median_of_some(m.check for m in measures),
        exchange=_median_of_some(m.exchange for m in measures),
    )


def _sample(stage: Stage, row: Row) -> Sample:
    envoy = stage.envoys[row.proxy]
    stats = _stats(envoy)
    return Sample(
        answers={kind: stats.get(f"http.{STAT_PREFIX}.downstream_rq_{kind}", 0) for kind in CLASSES},
        checks=stats.get(f"cluster.{names.EXTAUTH_CLUSTER}.upstream_rq_total", 0),
        exchanges=stats.get(f"cluster.{names.EXTPROC_CLUSTER}.upstream_rq_total", 0),
        envoy=cpu_seconds(envoy.pid),
        extauth=cpu_seconds(stage.extauth),
        extproc=cpu_seconds(stage.extproc),
    )


def _stats(envoy: Envoy) -> dict[str, int]:
    url = f"http://{envoy.admin.host}:{envoy.admin.port}/stats"
    query = {"format": "json", "filter": STATS.format(STAT_PREFIX)}
    response = httpx.get(url, params=query, trust_env=False).raise_for_status()
    return {stat["name"]: stat["value"] for stat in response.json()["stats"]}


def _refuse_failures(row: Row, seen: Seen, before: Sample, after: Sample) -> None:
    """Raise FailedError unless everything was answered, and with 2xx: a fast refusal is not throughput."""
    failed = {kind: after.answers[kind] - before.answers[kind] for kind in CLASSES if kind != "2xx"}
    if any(failed.values()) or seen.status_errors or seen.socket_errors:
        raise FailedError(
            f"{row.name}: not every request was served: by class {failed}, "
            f"{seen.status_errors} error answers and {seen.socket_errors} socket errors at wrk"
        )


def quantile(values: Iterable[float], part: float) -> float:
    """Give the nearest rank: of a hundred values the 99th for 0.99."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * part) - 1)]


def _each(seconds: float, count: int) -> float | None:
    return seconds / count * 1e6 if count else None


def _median_of_some(values: Iterable[float | None]) -> float | None:
    some = [value for value in values if value is not None]
    return statistics.median(some) if some else None
