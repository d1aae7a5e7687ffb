"""`igw proxies`: the Envoys that are connected to a control plane, and what each made of its configuration."""

import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from igw_cli.access import ControlPlane, Given, control_plane
from igw_cli.client import Client
from igw_cli.session import told
from igw_cli.show import Output, age, cell, columns, moment, put, results, write_json, write_yaml


def proxies(
    output: Annotated[
        Output, typer.Option("-o", "--output", help="Print a table, JSON or YAML.")
    ] = Output.TABLE,
    control_plane_url: ControlPlane = None,
) -> None:
    """List the connected Envoys: zone, version, and the last ACK and NACK, with Envoy's own words."""
    with told():
        url = control_plane(Given(control_plane=control_plane_url), os.environ)
        with Client(url, None, base="") as client:
            status = client.get("status")
    if output is Output.JSON:
        write_json(status)
    elif output is Output.YAML:
        write_yaml([status])
    else:
        _show(status)


def _show(status: Mapping[str, Any]) -> None:
    console = results()
    console.print(table(status.get("proxies", []), datetime.now(UTC)))
    console.print(f"{status.get('synced', 0)} of {status.get('connected', 0)} have the newest configuration.")
    if status.get("omitted"):
        console.print(f"{status['omitted']} more are not shown.")
    for error in status.get("definition_errors", []):
        console.print(cell(f"definition refused: {error}", "red"), soft_wrap=True)


def table(rows: Sequence[Mapping[str, Any]], now: datetime) -> Table:
    """Give proxies of the control plane's status as a table."""
    shown = columns("PROXY", "ZONE", "VERSION", "CONNECTED", "STATE", "LAST ACK", "LAST NACK")
    for proxy in rows:
        connected = now.timestamp() - float(proxy.get("connected_at", now.timestamp()))
        put(
            shown,
            proxy.get("id", ""),
            proxy.get("zone", ""),
            proxy.get("version", ""),
            f"{age(connected)} ago",
            _state(proxy),
            _answer(proxy.get("lastAck"), now),
            _answer(proxy.get("lastNack"), now),
        )
    return shown


def _state(proxy: Mapping[str, Any]) -> Text:
    if proxy.get("rejections"):
        return cell("refuses", "red")
    return cell("synced", "green") if proxy.get("synced") else cell("waiting", "yellow")


def _answer(answer: Mapping[str, Any] | None, now: datetime) -> str:
    """Give ``rds 3s ago``, and of a refusal what it was about and Envoy's text."""
    if not answer:
        return ""
    then = moment(answer.get("at"))
    when = "" if then is None else f" {age((now - then).total_seconds())} ago"
    names = ", ".join(answer.get("names", []))
    told = f": {answer['text']}" if "text" in answer else ""
    return f"{answer.get('type', '')} {names}".strip() + when + told
