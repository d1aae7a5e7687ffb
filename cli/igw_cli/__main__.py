"""`igw`: the command and how it ends; the commands themselves are in `commands`."""

import gc
import importlib.metadata
import os
import signal
from typing import Annotated, NoReturn

import typer

from igw_cli.commands import CONTEXT, Commands

EPILOG = (
    "Exit status: 0 done · 1 failed · 2 wrong usage or invalid definition · 3 not found · "
    "4 refused: no, a bad or a weak token · 5 conflict or precondition · 6 server unavailable · "
    "7 waited in vain: not in time, or it ended in ERROR · 130 interrupted."
)

OBJECTS_BETWEEN_COLLECTIONS = 5_000
"""With Python's own 700, up to a third of the time of a command's imports goes into looking for garbage in them."""

app = typer.Typer(
    name="igw",
    cls=Commands,
    help="An inference gateway: an Envoy control plane, its management API, and the services that Envoy asks.",
    epilog=EPILOG,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings=CONTEXT,
)


def _version(asked: bool) -> None:  # noqa: FBT001 - typer's callback
    if asked:
        typer.echo(f"igw {importlib.metadata.version('inference-gateway')}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run the command line."""
    gc.set_threshold(OBJECTS_BETWEEN_COLLECTIONS)
    if os.getpid() == 1:
        # A container's: the kernel keeps from it what it does not handle, so `docker stop` would wait.
        signal.signal(signal.SIGTERM, _end)
    app()


def _end(signum: int, _: object) -> NoReturn:
    """End as a signal would, until the command has its own way to."""
    raise SystemExit(128 + signum)


if __name__ == "__main__":
    main()
