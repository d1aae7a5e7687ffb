"""`igw traffic`: the shares of a model's deployments on a gateway, shown and set."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer
from rich.table import Table

from igw_cli.access import Server, Token, TokenFile
from igw_cli.client import Client, Exit, FailedError
from igw_cli.objects import DEPLOYMENT, GATEWAY, Object, found, got, listed, phase
from igw_cli.session import progress, session
from igw_cli.shares import shares, weight_of, weights_of
from igw_cli.show import Output, columns, model_of, put, results, write_json, write_yaml
from igw_cli.waiting import Awaited, until_settled

traffic = typer.Typer(no_args_is_help=True, help="Shares of a model's traffic.")


@traffic.callback()
def _group() -> None:
    """Set the shares of a model's traffic."""


@traffic.command(name="set")
def set_weights(
    model: Annotated[str, typer.Argument(help="The model's name, as clients ask for it.")],
    weights: Annotated[
        list[str], typer.Argument(metavar="NAME=WEIGHT...", help="Deployments and their weights, 0 to 1000.")
    ],
    gateway: Annotated[str, typer.Option("--gateway", "-g", help="The gateway's name or id.")],
    wait: Annotated[bool, typer.Option("--wait", help="Wait until Envoys have taken the weights.")] = False,
    timeout: Annotated[float, typer.Option(min=0, help="Seconds to wait.")] = 60.0,
    output: Annotated[
        Output, typer.Option("-o", "--output", help="Print a table, JSON or YAML.")
    ] = Output.TABLE,
    server: Server = None,
    token: Token = None,
    token_file: TokenFile = None,
) -> None:
    """Set weights of a model's deployments: `igw traffic set demo/small stable=90 canary=10 -g chat`.

    Those that are not named keep their weights. A deployment has one weight on all of its gateways.
    """
    with session(server, token, token_file) as client:
        wanted = weights_of(weights)
        before = _serving(client, gateway, model)
        chosen = _chosen(before, wanted, model, gateway)
        after = [_changed(thing, chosen) for thing in before]
        _write(client, before, chosen)
        _show(before, after, output)
        if wait:
            awaited = [Awaited(DEPLOYMENT, key, _name(before, key)) for key in chosen]
            until_settled(client, awaited, timeout, progress())


def _serving(client: Client, gateway: str, model: str) -> list[Object]:
    gateway_id = found(client, GATEWAY, gateway)["spec"]["id"]
    attached = listed(client, DEPLOYMENT, parentGatewayId=gateway_id)
    return [thing for thing in attached if model_of(thing) == model and phase(thing) != "DELETING"]


def _chosen(serving: Sequence[Object], wanted: Mapping[str, int], model: str, gateway: str) -> dict[str, int]:
    """Give the weights by id. Raises FailedError for a name that serves no such model on this gateway."""
    ids = {thing["spec"]["name"]: thing["spec"]["id"] for thing in serving}
    ids |= {thing["spec"]["id"]: thing["spec"]["id"] for thing in serving}
    strangers = [name for name in wanted if name not in ids]
    if strangers:
        known = ", ".join(sorted(thing["spec"]["name"] for thing in serving)) or "none"
        raise FailedError(
            f"{', '.join(strangers)} serves no {model!r} on gateway {gateway!r}; these do: {known}",
            Exit.INVALID,
        )
    return {ids[name]: weight for name, weight in wanted.items()}


def _changed(thing: Object, chosen: Mapping[str, int]) -> Object:
    spec = thing["spec"]
    weight = chosen.get(spec["id"], weight_of(spec))
    return {**thing, "spec": {**spec, "traffic": {**spec.get("traffic", {}), "weight": weight}}}


def _write(client: Client, before: Sequence[Object], chosen: Mapping[str, int]) -> None:
    """Write what grows first: were all weights zero on the way, they would share equally."""
    old = {thing["spec"]["id"]: weight_of(thing["spec"]) for thing in before}
    for key in sorted(chosen, key=lambda key: old[key] - chosen[key]):
        if chosen[key] != old[key]:
            # Read anew, since PATCH replaces the whole spec: what others changed meanwhile must stay.
            spec = _changed(got(client, DEPLOYMENT, key), chosen)["spec"]
            sent = {name: value for name, value in spec.items() if name not in {"id", "organizationId"}}
            client.send("PATCH", DEPLOYMENT.path, key, document=sent)


def _show(before: Sequence[Object], after: Sequence[Object], output: Output) -> None:
    rows = _rows(before, after)
    if output is Output.JSON:
        write_json({"items": rows})
    elif output is Output.YAML:
        write_yaml([{"items": rows}])
    else:
        results().print(_table(rows))


def _rows(before: Sequence[Object], after: Sequence[Object]) -> list[dict[str, Any]]:
    old, new = shares(thing["spec"] for thing in before), shares(thing["spec"] for thing in after)
    return [
        {
            "deployment": thing["spec"]["name"],
            "weightBefore": weight_of(thing["spec"]),
            "weight": weight_of(changed["spec"]),
            "percentBefore": round(old[thing["spec"]["id"]], 1),
            "percent": round(new[thing["spec"]["id"]], 1),
        }
        for thing, changed in zip(before, after, strict=True)
    ]


def _table(rows: Sequence[Mapping[str, Any]]) -> Table:
    table = columns("DEPLOYMENT", "WEIGHT", "SHARE")
    for row in rows:
        weight, percent = f"{row['weight']}", f"{row['percent']} %"
        if row["weight"] != row["weightBefore"]:
            weight = f"{row['weightBefore']} → {weight}"
        if row["percent"] != row["percentBefore"]:
            percent = f"{row['percentBefore']} % → {percent}"
        put(table, row["deployment"], weight, percent)
    return table


def _name(things: Sequence[Object], key: str) -> str:
    return next(str(thing["spec"]["name"]) for thing in things if thing["spec"]["id"] == key)
