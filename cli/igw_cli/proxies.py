"""`igw proxies`: the Envoys that are connected to a control plane, and what each made of its configuration."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from igw_cli.access import Server, Token, TokenFile
from igw_cli.session import session
from igw_cli.show import Output, age, cell, columns, moment, put, results, section, write_json, write_yaml

_COLOURS = {"SYNCED": "green", "WAITING": "yellow"}


def proxies(
    zone: Annotated[str | None, typer.Option(help="Only those that say they are in this zone.")] = None,
    output: Annotated[
        Output, typer.Option("-o", "--output", help="Print a table, JSON or YAML.")
    ] = Output.TABLE,
    server: Server = None,
    token: Token = None,
    token_file: TokenFile = None,
) -> None:
    """List the connected Envoys: zone, version, state, the last ACK and NACK, and what a zone holds back.

    A change goes to a zone's canary first. Needs the role operator.
    """
    with session(server, token, token_file) as client:
        found = client.get("proxies", **({} if zone is None else {"zone": zone}))
        if output is Output.JSON:
            write_json(found)
        elif output is Output.YAML:
            write_yaml([found])
        else:
            _show(found, datetime.now(UTC))


def _show(found: Mapping[str, Any], now: datetime) -> None:
    console = results()
    console.print(table(found.get("items", []), now))
    console.print(f"{found.get('synced', 0)} of {found.get('connected', 0)} have the newest configuration.")
    if found.get("omitted"):
        console.print(f"{found['omitted']} more are not shown.")
    held = refusals(found.get("zones", []), now)
    if held.row_count:
        section("Held back, since a proxy of the zone refused it", console)
        console.print(held)
    for error in found.get("definitionErrors", []):
        console.print(cell(f"definition refused: {error}", "red"), soft_wrap=True)


def table(rows: Sequence[Mapping[str, Any]], now: datetime) -> Table:
    """Give proxies as a table."""
    shown = columns("PROXY", "ZONE", "VERSION", "CONNECTED", "STATE", "CANARY", "LAST ACK", "LAST NACK")
    for proxy in rows:
        put(
            shown,
            proxy.get("id", ""),
            proxy.get("zone", ""),
            proxy.get("version", ""),
            _ago(proxy.get("connectedAt"), now).strip(),
            _state(proxy),
            "canary" if proxy.get("canary") else "",
            _answer(proxy.get("lastAck"), now),
            _answer(proxy.get("lastNack"), now),
        )
    return shown


def refusals(zones: Sequence[Mapping[str, Any]], now: datetime) -> Table:
    """Give what zones hold back as a table."""
    shown = columns("ZONE", "TYPE", "NAME", "REFUSED BY", "WHEN", "WHY")
    for zone in zones:
        for refused in zone.get("refused", []):
            told = (refused.get(key, "") for key in ("type", "name", "proxy"))
            put(
                shown,
                zone.get("name", ""),
                *told,
                _ago(refused.get("at"), now).strip(),
                refused.get("text", ""),
            )
    return shown


def _state(proxy: Mapping[str, Any]) -> Text:
    """Give the state and its reason, unless the last NACK says that already."""
    state, reason = str(proxy.get("state", "")), str(proxy.get("reason", ""))
    nack = proxy.get("lastNack") or {}
    known = not reason or reason == f"{nack.get('type')}: {nack.get('text')}"
    return cell(state.lower() if known else f"{state.lower()}: {reason}", _COLOURS.get(state, "red"))


def _answer(answer: Mapping[str, Any] | None, now: datetime) -> str:
    """Give ``rds 3s ago``, and of a refusal what it was about and Envoy's text."""
    if not answer:
        return ""
    names = ", ".join(answer.get("names", []))
    told = f": {answer['text']}" if "text" in answer else ""
    return f"{answer.get('type', '')} {names}".strip() + _ago(answer.get("at"), now) + told


def _ago(text: Any, now: datetime) -> str:
    then = moment(text)
    return "" if then is None else f" {age((now - then).total_seconds())} ago"
