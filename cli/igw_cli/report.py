"""What `igw up` tells: a table of gateways with a curl line each, and the ready file for programs."""

import json
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, assert_never
from urllib.parse import quote

from igw_model.gateway import BodyBasedRouting, HeaderBasedRouting, PathBasedRouting, Routing
from igw_model.policy import Provider
from igw_ops.private import write_private
from igw_xds.plan import Plan, PlannedGateway
from rich.console import Console
from rich.table import Table

from igw_cli.client import BASE

QUESTION = "Say hello"
TABLE_WIDTH = 140
SHOWN = 20
"""Gateways printed at once; with thousands the API is the place to look."""


@dataclass(frozen=True, slots=True)
class Serving:
    """What is served, and where: all that there is to tell."""

    plan: Plan
    ingress: str
    port: int
    address: str
    """At which this machine reaches it."""
    https_port: int
    https_only: bool
    authority: Path
    """The certificate of the local authority."""
    admin: str
    domain: str
    tokens: Mapping[Provider, str]
    api: str
    admin_token: Path
    organization: str


def routing_name(routing: Routing) -> str:
    """Give a routing strategy in a word."""
    match routing:
        case BodyBasedRouting():
            return "body"
        case HeaderBasedRouting():
            return "header"
        case PathBasedRouting():
            return "path"
        case other:
            assert_never(other)


def show(serving: Serving, gateways: Sequence[PlannedGateway], console: Console) -> None:
    """Print a table of gateways, and one curl line for each, unwrapped so that it can be copied."""
    gateways, more = gateways[:SHOWN], len(gateways) - SHOWN
    table = Table("Gateway", "Routing", "Auth", "Models", "URL", box=None, pad_edge=False)
    for gateway in gateways:
        models = "\n".join(model.name for model in gateway.models) or "none"
        urls = "\n".join(_url(host, serving, https=serving.https_only) for host in gateway.hosts)
        table.add_row(gateway.name, _routing(gateway.routing), gateway.policy.provider.value, models, urls)
    # A URL that is cut or wrapped cannot be copied: rather let a narrow terminal wrap the line.
    Console(file=console.file, width=max(console.width, TABLE_WIDTH)).print(table)
    for gateway in gateways:
        if gateway.models:
            console.print(f"\n# {gateway.name}", style="dim")
            console.print(curl(gateway, serving), soft_wrap=True, markup=False, highlight=False)
    if more > 0:
        console.print(f"\n{more} more: igw get gateways --server {serving.api}", style="dim", soft_wrap=True)
    console.print()


def show_start(serving: Serving, console: Console) -> None:
    """Print what is served, the demo's tokens, and how to manage it."""
    if serving.plan.gateways:
        show(serving, serving.plan.gateways, console)
    else:
        console.print(
            "No gateway yet: make one through the management API, `igw apply -f FILE`, or start with -f.\n"
        )
    _show_https(serving, console)
    for provider, token in serving.tokens.items():
        console.print(f"\n# demo token, {provider.value}", style="dim")
        console.print(token, soft_wrap=True, markup=False, highlight=False)
    _show_management(serving, console)


def _show_https(serving: Serving, console: Console) -> None:
    gateway = next((gateway for gateway in serving.plan.gateways if gateway.models), None)
    if gateway is None or serving.https_only:
        return
    console.print(
        f"# {gateway.name} over HTTPS; {serving.authority} is what clients trust", style="dim", soft_wrap=True
    )
    # Indented, as it is one of the lines above once more.
    console.print(f"  {curl(gateway, serving, https=True)}", soft_wrap=True, markup=False, highlight=False)


def _show_management(serving: Serving, console: Console) -> None:
    console.print(f"\n# manage it: {serving.api} (documentation: {serving.api}/docs)", style="dim")
    # Indented, to be told from the lines that ask a gateway.
    for command in management(serving):
        console.print(f"  {command}", soft_wrap=True, markup=False, highlight=False)
    console.print(
        f"# the admin token manages organisation {serving.organization}; "
        "gateways that it makes admit tokens of that organisation\n",
        style="dim",
        soft_wrap=True,
    )


def management(serving: Serving) -> tuple[str, str]:
    """Give two lines that list the gateways over the management API; neither shows the token."""
    token = shlex.quote(str(serving.admin_token))
    return (
        f'curl -sS {serving.api}{BASE}/gateways -H "Authorization: Bearer $(cat {token})"',
        f"igw get gateways --server {serving.api} --token-file {token}",
    )


def told(gateway: PlannedGateway) -> object:
    """Give what is printed of a gateway: another of these is worth printing, another weight is not."""
    return gateway.name, gateway.hosts, gateway.routing, gateway.policy, [m.name for m in gateway.models]


def curl(gateway: PlannedGateway, serving: Serving, *, https: bool = False) -> str:
    """Give a curl line that asks a gateway's first model for a completion."""
    https = https or serving.https_only
    model, host = gateway.models[0].name, gateway.hosts[0]
    segment, headers = "", []
    match gateway.routing:
        case HeaderBasedRouting(header_name=name):
            headers = [f"{name}: {model}"]
        case PathBasedRouting():
            segment = "/" + quote(model, safe="")
        case BodyBasedRouting():
            pass
        case other:
            assert_never(other)
    url = _url(host, serving, https=https)
    options = ["--cacert", shlex.quote(str(serving.authority))] if https else []
    if not host.endswith("localhost"):
        # curl and browsers know that *.localhost is this machine; another name may not lead here yet.
        if https:
            options += ["--resolve", shlex.quote(f"{host}:{serving.https_port}:{serving.address}")]
        else:
            url = serving.ingress
            headers.append(f"Host: {host}")
    token = serving.tokens.get(gateway.policy.provider)
    authorization = (
        f'"Authorization: Bearer ${_variable(gateway.policy.provider)}"' if token is None else None
    )
    headers = [
        *([f"Authorization: Bearer {token}"] if token else []),
        "Content-Type: application/json",
        *headers,
    ]
    body = json.dumps({"model": model, "messages": [{"role": "user", "content": QUESTION}]})
    parts = [shlex.quote(f"{url}{segment}/v1/chat/completions")]
    parts += ["-H", authorization] if authorization else []
    parts += [part for header in headers for part in ("-H", shlex.quote(header))]
    return " ".join(["curl", "-sS", *options, *parts, "-d", shlex.quote(body)])


def write_ready(path: Path, serving: Serving, pids: Mapping[str, int]) -> None:
    """Write the ready file at once and whole; it may hold demo tokens, so only its owner may read it."""
    document = {
        "ingress": serving.ingress,
        "https": f"https://{serving.address}:{serving.https_port}",
        "authority": str(serving.authority),
        "envoyAdmin": serving.admin,
        "api": serving.api,
        "adminTokenFile": str(serving.admin_token),
        "organization": serving.organization,
        "gateways": list(_gateways(serving.plan.gateways)),
        "tokens": {provider.value: token for provider, token in serving.tokens.items()},
        "pids": dict(pids),
    }
    write_private(path, json.dumps(document, indent=2))


def _gateways(gateways: Iterable[PlannedGateway]) -> Iterable[dict[str, Any]]:
    for gateway in gateways:
        yield {
            "id": gateway.id,
            "name": gateway.name,
            "host": gateway.hosts[0],
            "hosts": list(gateway.hosts),
            "routing": routing_name(gateway.routing),
        }


def _routing(routing: Routing) -> str:
    return (
        f"header {routing.header_name}" if isinstance(routing, HeaderBasedRouting) else routing_name(routing)
    )


def _url(host: str, serving: Serving, *, https: bool) -> str:
    return f"https://{host}:{serving.https_port}" if https else f"http://{host}:{serving.port}"


def _variable(provider: Provider) -> str:
    match provider:
        case Provider.COREWEAVE:
            return "CW_API_TOKEN"
        case Provider.WANDB:
            return "WANDB_API_KEY"
        case other:
            assert_never(other)
