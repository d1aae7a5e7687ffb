"""`igw`: the commands, and nothing else."""

import importlib.metadata
from typing import Annotated

import typer

from igw_cli import definitions, services
from igw_cli.up import up

app = typer.Typer(
    name="igw",
    help="An inference gateway: an Envoy control plane, and the services that Envoy asks while it serves.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(up)
app.command()(definitions.validate)
app.command()(definitions.render)
app.command()(services.xds)
app.command()(services.extauth)
app.command()(services.extproc)
app.add_typer(services.demo, name="demo", help="The servers that `igw up --demo` runs beside the gateway.")


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
    app()


if __name__ == "__main__":
    main()
