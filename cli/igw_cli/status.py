"""`igw status`: a whole installation at one look, from the operations ports of its processes. No token is needed."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

import httpx
import typer
from rich.console import Console
from rich.text import Text

from igw_cli.access import checked_url
from igw_cli.client import Exit
from igw_cli.session import told
from igw_cli.show import cell, columns, put, results, section, write_json
from igw_cli.summary import Part, Process, parts

LOCAL_PLANE = "http://127.0.0.1:18001"
LOCAL_SERVICES = {
    "extauth": "http://127.0.0.1:18012",
    "extproc": "http://127.0.0.1:18021",
    "collector": "http://127.0.0.1:18031",
}
"""Where they are if they run on one machine."""
TIMEOUT_SECONDS = 5.0
PRINTED = 5
"""Troubles of one part that are printed; JSON has more."""
_ENDS = re.compile(r"^igw_tls_not_after_seconds (\S+)$", re.MULTILINE)


def status(
    ops_url: Annotated[
        str,
        typer.Option(
            envvar="IGW_OPS_URL", metavar="URL", help="Operations port of the control plane (`igw xds`)."
        ),
    ] = LOCAL_PLANE,
    service: Annotated[
        list[str] | None,
        typer.Option(
            envvar="IGW_SERVICE_OPS_URLS",
            metavar="URL",
            help="Operations port of an extauth, extproc or collector that must be there. Repeatable. Default: those "
            "that answer on this machine.",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
) -> None:
    """Show how all of it is: control plane, gateways, deployments, Envoys, certificates, services.

    Exit status: 0 all is well · 1 something needs a look · 6 the control plane cannot be reached.
    """
    with told():
        plane_url = checked_url(ops_url, "--ops-url")
        urls = [checked_url(url, "--service") for url in service or ()]
    with httpx.Client(timeout=TIMEOUT_SECONDS, trust_env=False) as client:
        plane = asked(client, plane_url)
        services = [asked(client, url) for url in urls] or [
            asked(client, url, name) for name, url in LOCAL_SERVICES.items()
        ]
    if plane.status and "gateways" not in plane.status:
        plane = Process(plane_url, failure="is no control plane's operations port, or one of another version")
    found = parts(plane, services, datetime.now(UTC))
    if as_json:
        write_json(document(found))
    else:
        show(found, results())
    if not plane.status:
        raise typer.Exit(Exit.UNAVAILABLE)
    if not all(part.well for part in found):
        raise typer.Exit(Exit.FAILED)


def asked(client: httpx.Client, url: str, name: str = "") -> Process:
    """Ask the operations port of one process; what cannot be had is said in `failure`."""
    try:
        ready, shown, metrics = (client.get(f"{url}/{path}") for path in ("readyz", "status", "metrics"))
        found = shown.json() if shown.is_success else None
    except httpx.TransportError as error:
        return Process(url, name, f"cannot be reached: {error or type(error).__name__}")
    except ValueError:
        found = None
    if not isinstance(found, dict):
        return Process(url, name, "does not answer as an operations port of ours does")
    ends = _ENDS.search(metrics.text)
    return Process(
        url,
        name,
        "" if ready.is_success else f"not ready: {ready.text[:200].strip()}",
        found,
        None if ends is None else datetime.fromtimestamp(float(ends[1]), UTC),
    )


def document(found: Sequence[Part]) -> dict[str, Any]:
    """Give an installation for programs."""
    return {
        "well": all(part.well for part in found),
        "troubles": [
            {"part": part.name, "name": trouble.name, "reason": trouble.reason}
            for part in found
            for trouble in part.troubles
        ],
        "omittedTroubles": sum(part.omitted for part in found),
        **{_KEYS[part.name]: part.document for part in found},
    }


_KEYS = {
    "control plane": "controlPlane",
    "gateways": "gateways",
    "deployments": "deployments",
    "Envoys": "proxies",
    "certificates": "certificates",
    "services": "services",
}


def show(found: Sequence[Part], console: Console) -> None:
    """Print a line for each part, and then what needs a look."""
    table = columns("PART", "STATE", "")
    for part in found:
        put(table, part.name, _state(part), part.told)
    console.print(table)
    if all(part.well for part in found):
        return
    section("Needs a look", console)
    troubles = columns("PART", "NAME", "WHY")
    for part in found:
        for trouble in part.troubles[:PRINTED]:
            put(troubles, part.name, trouble.name, trouble.reason)
        if more := max(0, len(part.troubles) - PRINTED) + part.omitted:
            put(troubles, part.name, "", f"… and {more} more")
    console.print(troubles)


def _state(part: Part) -> Text:
    if not part.well:
        return cell("look", "red")
    return cell("good", "green") if part.known else cell("unknown", "dim")
