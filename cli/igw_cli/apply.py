"""`igw apply`: files become objects. What is there is replaced where it differs; nothing is deleted."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from igw_cli.access import Server, Token, TokenFile
from igw_cli.client import Client, Exit, FailedError
from igw_cli.difference import FieldChange, changes
from igw_cli.manifests import Manifest, manifests
from igw_cli.objects import DEPLOYMENT, GATEWAY, Kind, Object, is_id, listed, named, phase, same_id
from igw_cli.session import progress, session
from igw_cli.show import Output, line, plain, results, write_json, write_yaml
from igw_cli.waiting import Awaited, until_settled

WAIT_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Applied:
    """What became of one manifest; `id` is empty for what a dry run would create."""

    manifest: Manifest
    action: str
    id: str
    changes: Sequence[FieldChange] = ()

    def document(self) -> dict[str, Any]:
        """Give it for programs."""
        return {
            "kind": self.manifest.kind.document,
            "name": self.manifest.name,
            "id": self.id,
            "action": self.action,
            "changes": [{"path": c.path, "before": c.before, "after": c.after} for c in self.changes],
        }


def apply(
    file: Annotated[
        list[str],
        typer.Option(
            "-f", "--file", help="Definition file, folder of them, or - for standard input. Repeatable."
        ),
    ],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would change; change nothing.")
    ] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until everything is READY.")] = False,
    timeout: Annotated[float, typer.Option(min=0, help="Seconds to wait.")] = WAIT_SECONDS,
    output: Annotated[
        Output, typer.Option("-o", "--output", help="How to print what was done.")
    ] = Output.TABLE,
    server: Server = None,
    token: Token = None,
    token_file: TokenFile = None,
) -> None:
    """Create or replace what files define, by id, else by name; show what changed.

    gatewayIds may name gateways. A spec replaces the whole of the one before it, but for a W&B apiKey that is
    left out, which stays. One with an apiKey is always sent: nobody can say whether it is another key.
    """
    with session(server, token, token_file) as client:
        wanted = manifests(file)
        done, failures = _applied(client, wanted, dry_run=dry_run, console=_console(output))
        if output is Output.JSON:
            write_json({"applied": [one.document() for one in done]})
        elif output is Output.YAML:
            write_yaml([{"applied": [one.document() for one in done]}])
        if failures:
            raise FailedError("\n".join(map(str, failures)), failures[0].status)
        if wait and not dry_run:
            awaited = [Awaited(one.manifest.kind, one.id, one.manifest.name) for one in done]
            until_settled(client, awaited, timeout, progress())


def _console(output: Output) -> Console | None:
    return results() if output is Output.TABLE else None


def _applied(
    client: Client, wanted: Sequence[Manifest], *, dry_run: bool, console: Console | None
) -> tuple[list[Applied], list[FailedError]]:
    """Apply one after the other; what fails does not stop the others."""
    present = _present(client, wanted)
    done: list[Applied] = []
    failures: list[FailedError] = []
    for manifest in wanted:
        try:
            applied = _apply(client, manifest, present, dry_run=dry_run)
        except FailedError as error:
            told = f"{manifest.kind.name}/{manifest.name} ({manifest.origin}): {error}"
            failures.append(FailedError(told, error.status))
            if error.status in {Exit.REFUSED, Exit.UNAVAILABLE}:
                break  # nor will the next be taken
            continue
        done.append(applied)
        if console:
            _show(applied, console, dry_run=dry_run)
    return done, failures


def _present(client: Client, wanted: Sequence[Manifest]) -> dict[Kind, list[Object]]:
    kinds = {manifest.kind for manifest in wanted}
    if DEPLOYMENT in kinds:
        kinds.add(GATEWAY)  # for their names
    return {kind: listed(client, kind) for kind in kinds}


def _apply(
    client: Client, manifest: Manifest, present: dict[Kind, list[Object]], *, dry_run: bool
) -> Applied:
    kind = manifest.kind
    spec = _resolved(manifest, present)
    before = _same(present[kind], spec)
    differences = changes({} if before is None else before["spec"], spec)
    if before is None:
        after = None if dry_run else _answered(client.send("POST", kind.path, document=spec), kind)
        present[kind].append(after or {"spec": spec})
        return Applied(manifest, "created", "" if after is None else after["spec"]["id"], differences)
    object_id = before["spec"]["id"]
    if not differences:
        return Applied(manifest, "unchanged", object_id)
    if not dry_run:
        sent = {key: value for key, value in spec.items() if key != "id"}
        _answered(client.send("PATCH", kind.path, object_id, document=sent), kind)
    return Applied(manifest, "changed", object_id, differences)


def _resolved(manifest: Manifest, present: Mapping[Kind, Sequence[Object]]) -> dict[str, Any]:
    """Give the spec as it is sent: gateways by id. An organisation that is not the caller's, the server refuses."""
    spec = dict(manifest.spec)
    if manifest.kind is DEPLOYMENT:
        keys = [_gateway_id(key, present[GATEWAY]) for key in spec.get("gatewayIds", [])]
        spec["gatewayIds"] = list(dict.fromkeys(keys))
    return spec


def _gateway_id(key: str, gateways: Sequence[Object]) -> str:
    gateway = named(gateways, key)
    if gateway is None:
        if is_id(key):
            return key  # the server says what is wrong with it
        raise FailedError(f"gatewayIds: no gateway has the name {key!r}", Exit.INVALID)
    # In a dry run a gateway that would be created has no id yet.
    return str(gateway["spec"].get("id") or key)


def _same(objects: Sequence[Object], spec: Mapping[str, Any]) -> Object | None:
    """Give the object that a spec is about: of its id, where it has one, else of its name."""
    if spec.get("id"):
        by_id = [o for o in objects if same_id(o["spec"].get("id"), spec["id"])]
    else:
        by_id = [o for o in objects if o["spec"].get("name") == spec.get("name") and phase(o) != "DELETING"]
    return next(iter(by_id), None)


def _answered(answer: Mapping[str, Any], kind: Kind) -> Object:
    thing: Object = answer.get(kind.key, {})
    if not isinstance(thing.get("spec"), Mapping) or "id" not in thing["spec"]:
        raise FailedError("the server's answer is not that of the API")
    return thing


def _show(applied: Applied, console: Console, *, dry_run: bool) -> None:
    colour = {"created": "green", "changed": "yellow"}.get(applied.action, "dim")
    heading = Text(line(f"{applied.manifest.kind.name}/{applied.manifest.name} "))
    heading.append(f" {applied.action}{' (dry run)' if dry_run else ''}", colour)
    console.print(heading, soft_wrap=True)
    if applied.action == "changed":
        for change in applied.changes:
            text = f"  {change.path}: {_value(change.before)} → {_value(change.after)}"
            console.print(Text(plain(text)), soft_wrap=True)


def _value(value: Any) -> str:
    import json  # noqa: PLC0415 - for changes alone

    if value is None:
        return "(none)"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
