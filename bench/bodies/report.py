"""The medians as a Markdown table, with verdicts where targets hold. Pure."""

from collections.abc import Iterator, Mapping

from tax import page

from bodies.measure import Measure
from bodies.rows import HELD_TO_TARGETS, Row, Upstream

HEADINGS = (
    "",
    "",
    "requests/s",
    "of plain",
    "p50 µs, alone",
    "added p50",
    "added p99",
    "Envoy µs/request",
    "extproc µs/request",
    "Envoy MB",
    "extproc MB",
)


def table(upstream: Upstream, medians: Mapping[Row, Measure]) -> str:
    """Give the table, one line a row; a column of verdicts only before the upstream that targets are held to."""
    reached = [page.told(verdicts(row, measure)) for row, measure in medians.items()]
    rows = [_cells(row, measure) for row, measure in medians.items()]
    return page.table(HEADINGS, rows, reached if upstream is HELD_TO_TARGETS else None)


def all_reached(upstream: Upstream, medians: Mapping[Row, Measure]) -> bool:
    """Say whether no target is missed; before the other upstream there are none."""
    reached = (ok for row, measure in medians.items() for _, ok in verdicts(row, measure))
    return upstream is not HELD_TO_TARGETS or all(reached)


def verdicts(row: Row, measure: Measure) -> Iterator[tuple[str, bool]]:
    """Give each target of a row in words, and whether it is reached."""
    if row.ratio is not None:
        yield f"≥ {row.ratio:.2f} of plain", measure.ratio >= row.ratio
    if row.added_us is not None:
        yield f"p50 + ≤ {row.added_us:.0f} µs", measure.added_p50_us <= row.added_us


def _cells(row: Row, measure: Measure) -> tuple[str, ...]:
    return (
        row.body.name,
        row.proxy.value,
        f"{measure.throughput:,.0f}",
        f"{measure.ratio:.2f}",
        f"{measure.p50_us:,.0f}",
        f"{measure.added_p50_us:+,.0f}",
        f"{measure.added_p99_us:+,.0f}",
        f"{measure.envoy_us:,.0f}",
        f"{measure.extproc_us:,.0f}",
        f"{measure.envoy_mb:.0f}",
        f"{measure.extproc_mb:.0f}",
    )
