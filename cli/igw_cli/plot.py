"""Tokens over time as bars in a terminal: a document of usage in, one plot for each group out.

Groups share one scale. Beyond `MOST_GROUPS` the smallest are one plot together.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from rich.bar import Bar
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

from igw_cli.client import Exit, FailedError
from igw_cli.show import cell, moment

MOST_GROUPS = 5
MOST_BARS = 500
WIDTH = 80
"""Where there is no terminal."""
STEPS = {"minute": timedelta(minutes=1), "hour": timedelta(hours=1), "day": timedelta(days=1)}
_FORMATS = {"minute": "%m-%d %H:%M", "hour": "%m-%d %H:%M", "day": "%Y-%m-%d"}
OTHERS = "(others)"

Item = Mapping[str, Any]
Series = Mapping[datetime, int]


def interval_for(span: timedelta) -> str:
    """Give the interval that makes a plot of a length of time that one can look at."""
    if span <= timedelta(hours=2):
        return "minute"
    return "hour" if span <= timedelta(days=4) else "day"


def show_plots(document: Mapping[str, Any], names: Mapping[str, str], console: Console) -> None:
    """Print the plots; `names` are those of groups that are ids. Raises FailedError for more than one can read."""
    times = _times(document)
    if document.get("truncated"):  # the latest would be missing, and look as if nothing had been used
        raise FailedError("there is more than one answer holds: choose a longer --interval", Exit.INVALID)
    plots = _grouped(document.get("items", []), grouped=document.get("groupBy") is not None)
    most = max((value for _, series in plots for value in series.values()), default=0)
    for key, series in plots:
        title = names.get(key, key) or "all"
        heading = Text.assemble(cell(title), f"  {sum(series.values()):,} tokens", style="bold")
        console.print(heading)
        console.print(_plot(series, times, most, _FORMATS[str(document["interval"])]))
        console.print()


def _times(document: Mapping[str, Any]) -> Sequence[datetime]:
    """Give when each bar's time begins, those in which nothing was used too."""
    step = STEPS[str(document["interval"])]
    start, end = (_utc(document[name]) for name in ("from", "to"))
    begin = datetime.min.replace(tzinfo=UTC)
    first = start - (start - begin) % step
    count = -((first - end) // step)
    if count > MOST_BARS:
        raise FailedError(
            f"{count} bars are more than one can read: choose a longer --interval", Exit.INVALID
        )
    return [first + number * step for number in range(count)]


def _grouped(items: Sequence[Item], *, grouped: bool) -> list[tuple[str, Series]]:
    """Give the series by group, those with the most tokens first."""
    series: dict[str, dict[datetime, int]] = {} if grouped else {"": {}}
    for item in items:
        one = series.setdefault(key_of(item) if grouped else "", {})
        one[_utc(item["start"])] = int(item["totalTokens"])
    order = sorted(series, key=lambda key: (-sum(series[key].values()), key))
    shown: list[tuple[str, Series]] = [(key, series[key]) for key in order[:MOST_GROUPS]]
    if rest := order[MOST_GROUPS:]:
        shown.append((OTHERS, _added(series[key] for key in rest)))
    return shown


def key_of(item: Item) -> str:
    """Give an item's group; some requests belong to none."""
    key = item.get("key")
    return "(none)" if key is None else str(key)


def _added(series: Iterator[Series]) -> Series:
    total: dict[datetime, int] = {}
    for one in series:
        for time, value in one.items():
            total[time] = total.get(time, 0) + value
    return total


def _plot(series: Series, times: Sequence[datetime], most: int, form: str) -> Table:
    table = Table(box=None, pad_edge=False, show_header=False, expand=True)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True, justify="right")
    table.add_column(ratio=1)
    for time in times:
        value = series.get(time, 0)
        table.add_row(time.strftime(form), f"{value:,}", _Length(value, most))
    return table


@dataclass(frozen=True, slots=True)
class _Length:
    """A bar: `value` of `most`; of `#` where a terminal has no other characters."""

    value: int
    most: int

    def __rich_console__(self, _: Console, options: ConsoleOptions) -> RenderResult:
        if options.ascii_only:
            yield Text("#" * round(options.max_width * self.value / max(self.most, 1)))
        else:
            yield Bar(max(self.most, 1), 0, self.value)


def _utc(text: Any) -> datetime:
    found = moment(text)
    if found is None:
        raise FailedError(f"the server's answer has no time where one belongs: {text!r}")
    return found.astimezone(UTC)
