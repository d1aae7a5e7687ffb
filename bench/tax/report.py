"""The medians as a Markdown table, with verdicts where targets hold. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

from tax import page
from tax.measure import Measure
from tax.rows import HELD_TO_TARGETS, Row, Upstream

HEADINGS = (
    "",
    "requests/s",
    "of plain",
    "p50 ms",
    "p99 ms",
    "Envoy µs/request",
    "extauth µs/check",
    "extproc µs/exchange",
)


@dataclass(frozen=True, slots=True)
class Run:
    """What a table was made by, where, and when."""

    command: str
    day: date
    cores: int
    envoy: str
    python: str
    rounds: int
    foreign: float
    """The share of the machine that other programs used meanwhile; above a few hundredths, run again."""


def section(run: Run, upstream: Upstream, medians: Mapping[Row, Measure]) -> str:
    """Give the text between the markers."""
    made = (
        f"`{run.command}`, {run.day.isoformat()}, {run.cores} cores, Envoy {run.envoy}, Python {run.python}; "
        f"medians of {run.rounds} round{'s' * (run.rounds > 1)}; "
        f"other programs used {run.foreign:.0%} of the machine."
    )
    return f"{table(upstream, medians)}\n\n{made}"


def table(upstream: Upstream, medians: Mapping[Row, Measure]) -> str:
    """Give the table, one line a row; a column of verdicts only before the upstream that targets are held to."""
    reached = [page.told(verdicts(row, measure)) for row, measure in medians.items()]
    rows = [_cells(row, measure) for row, measure in medians.items()]
    return page.table(HEADINGS, rows, reached if upstream is HELD_TO_TARGETS else None)


def all_reached(upstream: Upstream, medians: Mapping[Row, Measure]) -> bool:
    """Say whether no target is missed; before the other upstreams there are none."""
    reached = (ok for row, measure in medians.items() for _, ok in verdicts(row, measure))
    return upstream is not HELD_TO_TARGETS or all(reached)


def verdicts(row: Row, measure: Measure) -> list[tuple[str, bool]]:
    """Give each target of a row in words, and whether it is reached."""
    target = row.target
    found: list[tuple[str, bool]] = []
    if target.ratio is not None:
        found.append((f"≥ {target.ratio:.2f} of plain", measure.ratio >= target.ratio))
    if target.check is not None and measure.check is not None:
        found.append((f"check ≤ {target.check:.0f} µs", measure.check <= target.check))
    if target.exchange is not None and measure.exchange is not None:
        found.append((f"exchange ≤ {target.exchange:.0f} µs", measure.exchange <= target.exchange))
    return found


def _cells(row: Row, measure: Measure) -> tuple[str, ...]:
    return (
        row.name,
        f"{measure.throughput:,.0f}",
        f"{measure.ratio:.2f}",
        f"{measure.p50_ms:.1f}",
        f"{measure.p99_ms:.1f}",
        f"{measure.envoy:.0f}",
        _microseconds(measure.check),
        _microseconds(measure.exchange),
    )


def _microseconds(value: float | None) -> str:
    return "" if value is None else f"{value:.0f}"
