"""`igw get`, `igw describe`, `igw delete`, `igw events`: objects and what happened to them, over the API."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.table import Table

from igw_cli.access import Server, Token, TokenFile
from igw_cli.client import Client, Exit, FailedError
from igw_cli.difference import changes
from igw_cli.objects import DEPLOYMENT, GATEWAY, Kind, Object, found, kind_of, listed
from igw_cli.session import progress, session
from igw_cli.show import (
    Output,
    columns,
    description,
    document_of,
    line,
    put,
    replicas_table,
    results,
    table_of,
    traffic_table,
    write_documents,
    write_json,
    write_yaml,
)
from igw_cli.times import rfc3339, time_of
from igw_cli.waiting import Awaited, until_gone
from igw_cli.watching import Watch

Word = Annotated[str, typer.Argument(metavar="KIND", help="gateways, deployments or claims.")]
As = Annotated[Output, typer.Option("-o", "--output", help="Print a table, JSON or YAML.")]


def get(
    kind: Word,
    name: Annotated[str | None, typer.Argument(help="Name or id. Default: all.")] = None,
    output: As = Output.TABLE,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Go on, and show each change.")] = False,
    server: Server = None,
    token: Token = None,
    token_file: TokenFile = None,
) -> None:
    """List gateways, deployments or capacity claims, or show one.

    YAML and JSON are files for `igw apply`. With --watch, JSON and YAML are one document for each change.
    """
    with session(server, token, token_file) as client:
        wanted = kind_of(kind)
        if watch:
            Watch(
                wanted,
                lambda: _things(client, wanted, name),
                lambda things: _table(client, wanted, things),
                output,
            ).run()
        things = _things(client, wanted, name)
        if output is Output.TABLE:
            results(wide=True).print(_table(client, wanted, things))
        else:
            write_documents([document_of(wanted, thing) for thing in things], output, one=name is not None)


def describe(
    kind: Word,
    name: Annotated[str, typer.Argument(help="Name or id.")],
    server: Server = None,
    token: Token = None,
    token_file: TokenFile = None,
) -> None:
    """Show all of one object: spec, status, conditions; a gateway's traffic, a deployment's replicas."""
    with session(server, token, token_file) as client:
        wanted = kind_of(kind)
        thing = found(client, wanted, name)
        description(wanted, thing, _extras(client, wanted, thing), results())


def delete(
    kind: Word,
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="Names or ids.")],
    wait: Annotated[bool, typer.Option("--wait", help="Wait until they are gone.")] = False,
    timeout: Annotated[float, typer.Option(min=0, help="Seconds to wait.")] = 60.0,
    ignore_missing: Annotated[
        bool, typer.Option("--ignore-missing", help="What is not there counts as deleted.")
    ] = False,
    server: Server = None,
    token: Token = None,
    token_file: TokenFile = None,
) -> None:
    """Delete objects. A gateway goes only after the deployments that name it."""
    with session(server, token, token_file) as client:
        wanted = kind_of(kind)
        doomed = [_found_or_none(client, wanted, name, ignore_missing=ignore_missing) for name in names]
        going: list[Awaited] = []
        for thing in doomed:
            if thing is not None:
                one = Awaited(wanted, thing["spec"]["id"], thing["spec"].get("name", ""))
                _delete(client, one, ignore_missing=ignore_missing)
                going.append(one)
        if wait:
            until_gone(client, going, timeout, progress())


def events(
    since: Annotated[
        str | None,
        typer.Option(help="Only what is newer: a time (2026-01-31T12:00:00Z) or an age (90s, 10m, 2h, 7d)."),
    ] = None,
    output: As = Output.TABLE,
    server: Server = None,
    token: Token = None,
    token_file: TokenFile = None,
) -> None:
    """List what was changed, when and by whom, oldest first."""
    with session(server, token, token_file) as client:
        query = (
            {} if since is None else {"updatedAfter": rfc3339(time_of(since, "--since", datetime.now(UTC)))}
        )
        answer = client.get("events", **query)
        if output is Output.JSON:
            write_json(answer)
        elif output is Output.YAML:
            write_yaml([answer])
        else:
            results().print(_events(answer.get("items", [])))


def _things(client: Client, kind: Kind, name: str | None) -> list[Object]:
    return listed(client, kind) if name is None else [found(client, kind, name)]


def _table(client: Client, kind: Kind, things: Sequence[Object]) -> Table:
    names = _gateway_names(client) if kind is DEPLOYMENT and things else {}
    return table_of(kind, things, names, datetime.now(UTC))


def _gateway_names(client: Client) -> dict[str, str]:
    return {g["spec"]["id"].lower(): g["spec"].get("name", "") for g in listed(client, GATEWAY)}


def _extras(client: Client, kind: Kind, thing: Object) -> list[tuple[str, Table]]:
    object_id = thing["spec"]["id"]
    if kind is GATEWAY:
        attached = listed(client, DEPLOYMENT, parentGatewayId=object_id)
        return [("Traffic", traffic_table(attached))] if attached else []
    if kind is DEPLOYMENT:
        replicas = client.get(kind.path, object_id, "replicas").get("items", [])
        return [("Replicas", replicas_table(replicas, datetime.now(UTC)))] if replicas else []
    return []


def _found_or_none(client: Client, kind: Kind, name: str, *, ignore_missing: bool) -> Object | None:
    try:
        return found(client, kind, name)
    except FailedError as error:
        if not (ignore_missing and error.status is Exit.NOT_FOUND):
            raise
    results().print(line(f"{kind.name}/{name} is not there"), markup=False, soft_wrap=True)
    return None


def _delete(client: Client, one: Awaited, *, ignore_missing: bool) -> None:
    try:
        client.send("DELETE", one.kind.path, one.id)
    except FailedError as error:
        if not (ignore_missing and error.status is Exit.NOT_FOUND):
            raise FailedError(f"{one}: {error}", error.status) from error
    results().print(line(f"{one} deleted"), markup=False, soft_wrap=True)


def _events(items: Sequence[Mapping[str, Any]]) -> Table:
    table = columns("TIME", "WHO", "ACTION", "KIND", "NAME", "WHAT")
    for event in items:
        put(
            table,
            event.get("time", ""),
            event.get("principal", ""),
            event.get("action", ""),
            event.get("kind", ""),
            event.get("name", ""),
            _what(event),
        )
    return table


def _what(event: Mapping[str, Any]) -> str:
    before, after = event.get("before"), event.get("after")
    if not before or not after:
        return ""
    return ", ".join(f"{c.path}: {c.before} → {c.after}" for c in changes(before, after))
