"""`igw validate` and `igw render`: the whole pipeline, definitions to Envoy's configuration, without a server."""

import json
import subprocess
import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml
from igw_model.definitions import unused
from igw_xds.bootstrap import static_bootstrap
from igw_xds.plan import plan
from igw_xds.resources.everything import snapshot_of
from igw_xds.settings import DataPlane, HostPort

from igw_cli.envoy import envoy_command
from igw_cli.options import (
    DOMAIN,
    INVALID,
    MAX_BODY,
    Domain,
    Files,
    MaxBody,
    Organization,
    Zone,
    fail,
    loaded,
)

ADMIN = HostPort("127.0.0.1", 9901)


def render(
    file: Files = None,
    organization_id: Organization = None,
    zone: Zone = None,
    domain: Domain = DOMAIN,
    max_body_bytes: MaxBody = MAX_BODY,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of YAML.")] = False,
) -> None:
    """Print the Envoy configuration that definitions become, complete: paste it into an Envoy."""
    document = _configuration(file, organization_id, zone, domain, max_body_bytes)
    # Sorted: the order of protobuf maps differs from run to run, and two renders are there to be compared.
    typer.echo(
        json.dumps(document, indent=2, sort_keys=True) if as_json else yaml.safe_dump(document), nl=False
    )


def validate(
    file: Files = None,
    organization_id: Organization = None,
    zone: Zone = None,
    domain: Domain = DOMAIN,
    max_body_bytes: MaxBody = MAX_BODY,
) -> None:
    """Check definitions, and what they become with Envoy itself (`envoy --mode validate`)."""
    document = _configuration(file, organization_id, zone, domain, max_body_bytes)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "envoy.json")
        path.write_text(json.dumps(document), encoding="utf-8")
        command = [envoy_command(), "--mode", "validate", "--log-level", "error", "-c", str(path)]
        checked = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own command
    if checked.returncode:
        fail(f"Envoy refuses the configuration: {(checked.stderr or checked.stdout).strip()}", INVALID)
    typer.echo("The definitions are valid, and Envoy accepts what they become.")


def _configuration(
    files: list[Path] | None, organization: str | None, zone: str | None, domain: str, max_body_bytes: int
) -> dict[str, Any]:
    if not files:
        fail("name definition files with -f FILE", INVALID)
    definitions = loaded(files, organization).definitions
    for warning in unused(definitions):
        typer.secho(f"warning: {warning}", fg=typer.colors.YELLOW, err=True)
    planned = plan(definitions.gateways, definitions.deployments, domain=domain, zone=zone)
    return static_bootstrap(snapshot_of(planned, DataPlane(max_body_bytes=max_body_bytes)), ADMIN)
