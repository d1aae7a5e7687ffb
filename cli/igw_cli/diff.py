"""`igw diff`: what one Envoy runs, as it says itself, beside what the control plane means it to run."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from igw_cli.access import Server, Token, TokenFile, checked_url
from igw_cli.client import Client, Exit, FailedError
from igw_cli.comparison import Difference, Kind, content_difference, differences
from igw_cli.held import Resources, held
from igw_cli.session import progress, session
from igw_cli.show import Output, cell, columns, plain, put, results, write_json, write_yaml

ADMIN = "http://127.0.0.1:9901"
SECRETS = "sds"
"""The type whose contents are shown to nobody."""
MOST_CONTENTS = 100
"""Resources whose content is compared, each by a call."""
_COLOURS = {Kind.MISSING: "red", Kind.EXTRA: "yellow", Kind.OTHER: "yellow"}


def diff(
    proxy: Annotated[str, typer.Argument(help="The Envoy's node id, as `igw proxies` lists it.")],
    admin: Annotated[str, typer.Option(help="That Envoy's admin interface.")] = ADMIN,
    content: Annotated[
        bool, typer.Option("--content", "-v", help="Show how the contents differ, as YAML.")
    ] = False,
    output: Annotated[
        Output, typer.Option("-o", "--output", help="Print a table, JSON or YAML.")
    ] = Output.TABLE,
    server: Server = None,
    token: Token = None,
    token_file: TokenFile = None,
) -> None:
    """Compare what an Envoy runs with what it should run: by type, name and version.

    Exit status: 0 the same · 1 different · 2 and above: they could not be compared. Needs the role operator.
    """
    with session(server, token, token_file) as client:
        try:
            _refuse_without_versions(client.get("proxies", proxy)["proxy"])
            expected = client.get("proxies", proxy, "resources")
            runs = _held(checked_url(admin, "--admin"), proxy)
            found = differences(expected, runs)
            contents = _contents(client, proxy, found, runs) if content else {}
        except FailedError as error:
            # 1 says that they differ.
            raise FailedError(str(error), Exit(max(error.status, Exit.INVALID))) from error
    _show(proxy, found, contents, output)
    if found:
        raise typer.Exit(1)


def _refuse_without_versions(proxy: Mapping[str, Any]) -> None:
    if proxy["transport"] != "delta":
        reason = "its xDS is state-of-the-world, so that its dump has no version of each resource"
        raise FailedError(f"{proxy['id']} cannot be compared: {reason}", Exit.INVALID)


def _held(admin: str, proxy: str) -> Resources:
    """Ask an Envoy what it runs, and that it is the one that is meant."""
    with Client(admin, None, base="") as envoy:
        node = envoy.get("server_info").get("node", {}).get("id", "")
        if node != proxy:
            raise FailedError(
                f"the Envoy at {admin} is {node!r}, not {proxy!r}: name its --admin", Exit.INVALID
            )
        return held(envoy.get("config_dump", include_eds=""))


def _contents(
    client: Client, proxy: str, found: Sequence[Difference], runs: Resources
) -> dict[Difference, list[str]]:
    if len(found) > MOST_CONTENTS:
        progress().print(f"the contents of the first {MOST_CONTENTS} of {len(found)} are shown")
    shown = {}
    for one in found[:MOST_CONTENTS]:
        if one.type == SECRETS:
            continue
        should = _should(client, proxy, one) if one.should else None
        there = runs.get((one.type, one.name))
        shown[one] = list(content_difference(one, should, None if there is None else there.content))
    return shown


def _should(client: Client, proxy: str, one: Difference) -> Any:
    try:
        return client.get("proxies", proxy, "resources", one.type, one.name)["resource"]["content"]
    except FailedError as error:
        if error.status is Exit.NOT_FOUND:
            return None  # gone since
        raise


def _show(
    proxy: str, found: Sequence[Difference], contents: dict[Difference, list[str]], output: Output
) -> None:
    if output is not Output.TABLE:
        document = {
            "proxy": proxy,
            "equal": not found,
            "differences": [_document(d, contents) for d in found],
        }
        if output is Output.JSON:
            write_json(document)
        else:
            write_yaml([document])
        return
    console = results()
    if not found:
        console.print(cell(f"{proxy} runs what it should."))
        return
    console.print(table(found))
    for lines in contents.values():
        console.print()
        for text in lines:
            colour = "red" if text.startswith("-") else "green" if text.startswith("+") else ""
            console.print(Text(plain(text), colour), soft_wrap=True)


def table(found: Sequence[Difference]) -> Table:
    """Give differences as a table."""
    shown = columns("TYPE", "NAME", "DIFFERENCE", "SHOULD", "RUNS", "WHY")
    for one in found:
        put(
            shown,
            one.type,
            one.name,
            cell(one.kind.value, _COLOURS[one.kind]),
            one.should,
            one.runs,
            one.note,
        )
    return shown


def _document(one: Difference, contents: dict[Difference, list[str]]) -> dict[str, Any]:
    """Give a difference without what it has nothing of."""
    known = {key: value for key, value in asdict(one).items() if value}
    known["difference"] = known.pop("kind").value
    return known | ({"content": "\n".join(contents[one])} if one in contents else {})
