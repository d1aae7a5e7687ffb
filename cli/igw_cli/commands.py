"""The commands by name, each imported when it is named: `igw get` pays for no protobuf, a child only for its part.

`igw --help` imports them all.
"""

import importlib
from collections.abc import Mapping
from typing import Any

import typer
from typer.core import TyperGroup
from typer.main import get_command

COMMANDS: Mapping[str, str] = {
    "up": "igw_cli.up:up",
    "get": "igw_cli.get:get",
    "describe": "igw_cli.get:describe",
    "apply": "igw_cli.apply:apply",
    "delete": "igw_cli.get:delete",
    "traffic": "igw_cli.traffic:traffic",
    "events": "igw_cli.get:events",
    "usage": "igw_cli.usage:usage",
    "status": "igw_cli.status:status",
    "proxies": "igw_cli.proxies:proxies",
    "diff": "igw_cli.diff:diff",
    "validate": "igw_cli.definitions:validate",
    "render": "igw_cli.definitions:render",
    "store": "igw_cli.store:store",
    "auth": "igw_cli.auth:auth",
    "certs": "igw_cli.certs:certs",
    "xds": "igw_cli.xds:xds",
    "extauth": "igw_cli.services:extauth",
    "extproc": "igw_cli.services:extproc",
    "collector": "igw_cli.collector:collector",
    "envoy": "igw_cli.launcher:envoy",
    "demo": "igw_cli.services:demo",
}
"""Command to ``module:function``, or ``module:app`` for a group; in the order of `igw --help`."""

CONTEXT = {"help_option_names": ["-h", "--help"]}


class Commands(TyperGroup):
    """The group `igw`."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Give the names in their order."""
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Import a command; None for a name that is none."""
        del ctx
        place = COMMANDS.get(cmd_name)
        if place is None:
            return None
        module, _, name = place.partition(":")
        found = getattr(importlib.import_module(module), name)
        if isinstance(found, typer.Typer):
            app = found
            app.info.context_settings = CONTEXT
        else:
            app = typer.Typer(context_settings=CONTEXT)
            app.command(cmd_name)(found)
        # Completion is the whole program's, not each command's.
        app._add_completion = False  # noqa: SLF001 - settable only where a group of our own is made
        command = get_command(app)
        command.name = cmd_name
        return command
