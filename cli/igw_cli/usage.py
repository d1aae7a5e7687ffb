"""`igw usage`: what an organisation's requests used, as people, spreadsheets and programs read it."""

import csv
import sys
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from igw_cli.access import Server, Token, TokenFile
from igw_cli.client import Client, Exit, FailedError
from igw_cli.objects import DEPLOYMENT, GATEWAY, found, is_id, listed
from igw_cli.plot import WIDTH, interval_for, key_of, show_plots
from igw_cli.session import session
from igw_cli.show import cell, results, write_json
from igw_cli.times import rfc3339, time_of

DAY = timedelta(days=1)
COUNTS = {
    "requests": "REQUESTS",
    "errors": "ERRORS",
    "streamed": "STREAMED",
    "partial": "PARTIAL",
    "promptTokens": "PROMPT",
    "cachedTokens": "CACHED",
    "completionTokens": "COMPLETION",
    "totalTokens": "TOKENS",
}
"""What the table counts, by the names of its columns."""
FIELDS = (
    "start",
    "key",
    "requests",
    "errors",
    "streamed",
    "partial",
    "promptTokens",
    "completionTokens",
    "cachedTokens",
    "totalTokens",
    "durationSeconds",
)
"""The columns of CSV, which are the fields of the API's items."""
_MORE = "There is more than this shows"
_FORMULAS = ("=", "+", "-", "@", "\t", "\r", "\n")


class Group(StrEnum):
    """What rows are of."""

    MODEL = "model"
    PROJECT = "project"
    PRINCIPAL = "principal"
    DEPLOYMENT = "deployment"


class Interval(StrEnum):
    """How long rows are."""

    MINUTE = "minute"
    HOUR = "hour"
    DAY = "day"


class View(StrEnum):
    """How usage is printed."""

    TABLE = "table"
    PLOT = "plot"
    CSV = "csv"
    JSON = "json"


def usage(
    gateway: Annotated[
        str | None, typer.Option(help="Only this gateway's: name or id. Default: all.")
    ] = None,
    since: Annotated[
        str | None, typer.Option(help="From this time, or this long ago, until now: 90s, 10m, 24h, 7d.")
    ] = None,
    start: Annotated[
        str | None,
        typer.Option("--from", metavar="TIME", help="From this time or age. Default: 24 hours before --to."),
    ] = None,
    end: Annotated[
        str | None, typer.Option("--to", metavar="TIME", help="Until before this time or age. Default: now.")
    ] = None,
    group_by: Annotated[Group | None, typer.Option(help="A row for each of these.")] = None,
    interval: Annotated[Interval | None, typer.Option(help="A row for each of these.")] = None,
    output: Annotated[
        View, typer.Option("-o", "--output", help="Print a table, bars over time, CSV or JSON.")
    ] = View.TABLE,
    server: Server = None,
    token: Token = None,
    token_file: TokenFile = None,
) -> None:
    """Show how many requests there were and how many tokens they used; by default those of the last 24 hours.

    CSV and JSON have the API's own fields. A plot shows the tokens.
    """
    with session(server, token, token_file) as client:
        times = _times(since, start, end, datetime.now(UTC))
        if output is View.PLOT and interval is None:
            interval = Interval(interval_for(_span(times)))
        asked = {"groupBy": group_by, "interval": interval, "gatewayId": _gateway(client, gateway)}
        told = {name: str(value) for name, value in asked.items() if value is not None}
        document = client.get("usage", **told, **{name: rfc3339(time) for name, time in times.items()})
        _show(document, output, client)


def _times(since: str | None, start: str | None, end: str | None, now: datetime) -> dict[str, datetime]:
    """Give the times of the question by name. Raises FailedError."""
    if since is not None and (start is not None or end is not None):
        raise FailedError("--since says what --from and --to say: give the one or the others", Exit.INVALID)
    given = {"--since": since, "--from": start, "--to": end}
    times = {option: time_of(text, option, now) for option, text in given.items() if text is not None}
    return {"to" if option == "--to" else "from": time for option, time in times.items()}


def _span(times: Mapping[str, datetime]) -> timedelta:
    end = times.get("to", datetime.now(UTC))
    return end - times.get("from", end - DAY)


def _gateway(client: Client, name: str | None) -> str | None:
    """Give a gateway's id; one that is an id need not be there any more."""
    return name if name is None or is_id(name) else str(found(client, GATEWAY, name)["spec"]["id"])


def _show(document: Mapping[str, Any], view: View, client: Client) -> None:
    match view:
        case View.JSON:
            write_json(document)
        case View.CSV:
            write_csv(document)
            if document.get("truncated"):
                typer.echo(f"igw: {_MORE}", err=True)
        case View.TABLE:
            console = results()
            console.print(table(document, _names(document, client)))
            _tell(document, console)
        case View.PLOT:
            plain = Console(highlight=False)
            console = plain if plain.is_terminal else Console(highlight=False, width=WIDTH)
            show_plots(document, _names(document, client), console)
            _tell(document, console)


def _names(document: Mapping[str, Any], client: Client) -> dict[str, str]:
    """Give how groups are shown that are ids: deployments by name, while they are there."""
    if document.get("groupBy") != Group.DEPLOYMENT:
        return {}
    return {thing["spec"]["id"]: thing["spec"].get("name", "") for thing in listed(client, DEPLOYMENT)}


def table(document: Mapping[str, Any], names: Mapping[str, str]) -> Table:
    """Give usage as a table with its totals; `names` say how groups are shown."""
    grouped, series = document.get("groupBy") is not None, document.get("interval") is not None
    shown = Table(box=None, pad_edge=False, header_style="bold")
    heads = (["START"] if series else []) + ([str(document["groupBy"]).upper()] if grouped else [])
    for head in heads or [""]:
        shown.add_column(head, overflow="fold")
    for head in COUNTS.values():
        shown.add_column(head, justify="right", no_wrap=True)
    for item in document.get("items", []) if heads else []:
        lead = [str(item["start"])] if series else []
        lead += [names.get(key_of(item), key_of(item))] if grouped else []
        shown.add_row(*map(cell, lead), *_numbers(item))
    blank = [""] * (len(heads) - 1)
    shown.add_row(cell("TOTAL"), *blank, *_numbers(document.get("totals", {})), style="bold")
    return shown


def _numbers(counts: Mapping[str, Any]) -> list[str]:
    return [f"{int(counts.get(name, 0)):,}" for name in COUNTS]


def _tell(document: Mapping[str, Any], console: Console) -> None:
    """Print what the numbers are of."""
    console.print(cell(f"From {document.get('from')} to {document.get('to')}."))
    if document.get("truncated"):
        console.print(f"{_MORE}; the total has all of it.")


def write_csv(document: Mapping[str, Any]) -> None:
    """Print CSV as RFC 4180 has it, with a header; what is not there is empty.

    A key that a spreadsheet would run as a formula is led by an apostrophe: callers choose names. JSON has it as it is.
    """
    writer = csv.DictWriter(sys.stdout, FIELDS, extrasaction="ignore")
    writer.writeheader()
    writer.writerows({**item, "key": _text(item.get("key"))} for item in document.get("items", []))


def _text(key: Any) -> Any:
    """Give a key as a spreadsheet takes it for text (https://owasp.org/www-community/attacks/CSV_Injection)."""
    return f"'{key}" if isinstance(key, str) and key.startswith(_FORMULAS) else key
