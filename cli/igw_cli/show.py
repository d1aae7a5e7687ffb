"""Objects as people read them: tables and descriptions in Rich, and JSON or YAML for programs. No key is shown.

Text from the server is never markup, and its control characters are replaced: a name cannot write to a terminal.
"""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from igw_cli.objects import DEPLOYMENT, GATEWAY, Kind, Object, conditions, phase
from igw_cli.shares import shares, weight_of

_COLOURS = {"READY": "green", "ERROR": "red", "FAILED": "red", "DELETING": "dim"}
_ROUTINGS = {"bodyBasedRouting": "body", "headerBasedRouting": "header", "pathBasedRouting": "path"}
_AUTHS = {"coreWeaveAuth": "coreweave", "weightsAndBiasesAuth": "wandb"}
_WIDE = 10_000
_SECRETS = {"apiKey"}


class Output(StrEnum):
    """How results are printed."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"


def plain(text: str) -> str:
    """Give a text that is safe to print: only its own line breaks are kept of what controls a terminal."""
    return "".join(c if c.isprintable() or c == "\n" else "\ufffd" for c in text)


def line(text: Any) -> str:
    """Give a text on one line."""
    return " ".join(plain(str(text)).split())


def cell(text: Any, colour: str = "") -> Text:
    """Give a table's cell."""
    return Text(line(text), colour, overflow="fold")


def results(*, wide: bool = False) -> Console:
    """Give the console for results; a program that reads them gets no line broken, nor does a `wide` table."""
    console = Console(highlight=False)
    return console if console.is_terminal and not wide else Console(highlight=False, width=_WIDE)


def columns(*names: str) -> Table:
    """Give an empty table."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in names:
        table.add_column(name, overflow="fold")
    return table


def put(table: Table, *cells: Any) -> None:
    """Add a row."""
    table.add_row(*(value if isinstance(value, Text) else cell(value) for value in cells))


def document_of(kind: Kind, thing: Object) -> dict[str, Any]:
    """Give an object as a file would hold it, with its status."""
    return {"kind": kind.document, "spec": _open(thing.get("spec", {})), "status": thing.get("status", {})}


def write_documents(documents: Sequence[Mapping[str, Any]], output: Output, *, one: bool) -> None:
    """Print documents for programs: JSON of one or ``{"items": […]}``, or YAML documents."""
    if output is Output.YAML:
        write_yaml(documents)
    elif one:
        write_json(documents[0])
    else:
        write_json({"items": list(documents)})


def write_json(document: Any) -> None:
    """Print JSON."""
    sys.stdout.write(json.dumps(document, indent=2, ensure_ascii=False) + "\n")


def write_yaml(documents: Iterable[Any]) -> None:
    """Print YAML documents."""
    sys.stdout.write(_yaml(documents))


def table_of(kind: Kind, things: Sequence[Object], gateways: Mapping[str, str], now: datetime) -> Table:
    """Give objects as a table; `gateways` are their names by id, for deployments."""
    if kind is GATEWAY:
        table = columns("NAME", "STATUS", "ZONE", "AUTH", "ROUTING", "ENDPOINT", "AGE", "ID")
        for thing in things:
            put(table, *_gateway_row(thing, now))
    elif kind is DEPLOYMENT:
        table = columns("NAME", "STATUS", "MODEL", "GATEWAYS", "WEIGHT", "REPLICAS", "AGE", "ID")
        for thing in things:
            put(table, *_deployment_row(thing, gateways, now))
    else:
        table = columns("NAME", "STATUS", "INSTANCE", "COUNT", "ZONES", "ALLOCATED", "PENDING", "AGE", "ID")
        for thing in things:
            put(table, *_claim_row(thing, now))
    return table


def _gateway_row(thing: Object, now: datetime) -> list[Any]:
    spec = thing["spec"]
    return [
        spec.get("name", ""),
        state(thing),
        ", ".join(spec.get("zones", [])),
        _first(spec, _AUTHS),
        _first(spec, _ROUTINGS),
        next(iter(thing.get("status", {}).get("endpoints", [])), ""),
        age_of(thing, now),
        spec.get("id", ""),
    ]


def _deployment_row(thing: Object, gateways: Mapping[str, str], now: datetime) -> list[Any]:
    spec = thing["spec"]
    weight = f"{weight_of(spec)}{' (disabled)' if spec.get('disabled') else ''}"
    return [
        spec.get("name", ""),
        state(thing),
        spec.get("model", {}).get("name", ""),
        ", ".join(gateways.get(key.lower(), key) for key in spec.get("gatewayIds", [])),
        weight,
        replicas_of(thing),
        age_of(thing, now),
        spec.get("id", ""),
    ]


def _claim_row(thing: Object, now: datetime) -> list[Any]:
    spec, status = thing["spec"], thing.get("status", {})
    resources = spec.get("resources", {})
    return [
        spec.get("name", ""),
        state(thing),
        resources.get("instanceId", ""),
        resources.get("instanceCount", ""),
        ", ".join(resources.get("zones", [])),
        status.get("allocatedInstances", 0),
        status.get("pendingInstances", 0),
        age_of(thing, now),
        spec.get("id", ""),
    ]


def _first(spec: Mapping[str, Any], names: Mapping[str, str]) -> str:
    return next((name for key, name in names.items() if key in spec), "")


def state(thing: Object) -> Text:
    """Give an object's status in its colour."""
    return cell(phase(thing), _COLOURS.get(phase(thing), "yellow"))


def replicas_of(thing: Object) -> str:
    """Give ``2/3`` from the condition Ready of a deployment, where it says so."""
    for condition in conditions(thing):
        words = str(condition.get("message", "")).split()
        if condition.get("type") == "Ready" and words[:2] == ["Ready", "replicas:"] and len(words) > 2:
            return words[2].rstrip(".")
    return ""


def moment(text: Any) -> datetime | None:
    """Read an RFC 3339 time; None for what is none."""
    try:
        read = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return read if read.tzinfo else read.replace(tzinfo=UTC)


def age_of(thing: Object, now: datetime) -> str:
    """Give how long ago an object was created."""
    created = moment(thing.get("status", {}).get("createdAt"))
    return "" if created is None else age((now - created).total_seconds())


def age(seconds: float) -> str:
    """Give a duration in its largest unit: ``3d``, ``5h``, ``7m``, ``9s``."""
    for unit, size in (("d", 86_400), ("h", 3600), ("m", 60)):
        if seconds >= size:
            return f"{int(seconds // size)}{unit}"
    return f"{max(0, int(seconds))}s"


def description(kind: Kind, thing: Object, extras: Iterable[tuple[str, Table]], console: Console) -> None:
    """Print all of an object: what it should be, what became of it, and its conditions."""
    status = thing.get("status", {})
    heading = Text.assemble(
        (kind.document, "bold"), " ", cell(thing["spec"].get("name", "")), "  ", state(thing)
    )
    console.print(heading)
    for name, key in (("created", "createdAt"), ("updated", "updatedAt")):
        if key in status:
            console.print(Text(f"{name}  {line(status[key])}", "dim"))
    for endpoint in status.get("endpoints", []):
        console.print(Text(f"endpoint {line(endpoint)}"), soft_wrap=True)
    section("Spec", console)
    console.print(Text(plain(_yaml([_open(thing["spec"])]).rstrip())), soft_wrap=True)
    if conditions(thing):
        section("Conditions", console)
        console.print(_conditions(thing))
    for title, table in extras:
        section(title, console)
        console.print(table)


def section(title: str, console: Console) -> None:
    """Print a heading."""
    console.print()
    console.print(Text(title, "bold"))


def _conditions(thing: Object) -> Table:
    table = columns("TYPE", "HOLDS", "ZONE", "REASON", "MESSAGE")
    for condition in conditions(thing):
        truth = str(condition.get("status", "")).removeprefix("STATUS_").lower()
        colour = {"true": "green", "false": "red"}.get(truth, "yellow")
        put(
            table,
            condition.get("type", ""),
            cell(truth, colour),
            condition.get("zone", ""),
            condition.get("reason", ""),
            condition.get("message", ""),
        )
    return table


def traffic_table(deployments: Sequence[Object]) -> Table:
    """Give deployments of one gateway by model, with each one's share of its model's traffic."""
    table = columns("MODEL", "DEPLOYMENT", "STATUS", "WEIGHT", "SHARE")
    models = sorted({model_of(thing) for thing in deployments})
    for model in models:
        ours = [thing for thing in deployments if model_of(thing) == model]
        percentages = shares(thing["spec"] for thing in ours)
        for thing in ours:
            spec = thing["spec"]
            percentage = f"{percentages[spec['id']]:.1f} %"
            put(table, model, spec.get("name", ""), state(thing), weight_of(spec), percentage)
    return table


def model_of(thing: Object) -> str:
    """Give the model that a deployment serves."""
    return str(thing["spec"].get("model", {}).get("name", ""))


def replicas_table(replicas: Iterable[Mapping[str, Any]], now: datetime) -> Table:
    """Give a deployment's replicas; one that was found in a container has no expiry."""
    table = columns("REPLICA", "ADDRESS", "EXPIRES IN")
    for replica in replicas:
        expires = moment(replica.get("expiresAt"))
        left = "" if expires is None else age((expires - now).total_seconds())
        if expires is not None and expires <= now:
            left = "expired"
        put(table, replica.get("name", ""), f"{replica.get('address', '')}:{replica.get('port', '')}", left)
    return table


def _open(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Give a spec without secrets; the API gives none, and this holds whatever it gives."""
    return {
        key: _open(value) if isinstance(value, Mapping) else value
        for key, value in spec.items()
        if key not in _SECRETS
    }


def _yaml(documents: Iterable[Any]) -> str:
    import yaml  # noqa: PLC0415 - a table needs none

    listed = list(documents)
    if len(listed) == 1:
        return yaml.safe_dump(listed[0], sort_keys=False, allow_unicode=True)
    return yaml.safe_dump_all(listed, sort_keys=False, allow_unicode=True, explicit_start=True)
