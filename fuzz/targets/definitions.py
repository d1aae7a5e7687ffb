"""Definition files, YAML and JSON: any text is definitions or errors, and what is taken can be served.

The first byte says which: `J` for JSON, else YAML.
"""

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from igw_model.deployment import parse_deployment
from igw_model.document import FieldError
from igw_model.gateway import parse_gateway
from igw_model.record import Kind
from igw_store.files import Loaded, load
from igw_xds.plan import plan
from igw_xds.resources.everything import snapshot_of
from igw_xds.settings import DataPlane

WATCHED = ("igw_model", "igw_store", "igw_xds", "yaml")
MAX_BYTES = 4096
_TEMPORARY = TemporaryDirectory(prefix="igw-fuzz-")
_FOLDER = Path(_TEMPORARY.name)


def check(data: bytes) -> None:
    """Load a file; plan and make what is defined; parse the parts of it that are objects once more."""
    file = _FOLDER / ("definitions.json" if data[:1] == b"J" else "definitions.yaml")
    file.write_bytes(data[1:])
    loaded = load([file], "acme")
    assert load([file], "acme").errors == loaded.errors
    told = sum(len(str(error)) for error in loaded.errors)
    assert told <= 20_000 + 200 * len(data), told
    if loaded.errors:
        assert not loaded.sources
        return
    _serve(loaded)
    for source in loaded.sources:
        _again(source.kind, source.spec)


def _serve(loaded: Loaded) -> None:
    definitions = loaded.definitions
    made = plan(definitions.gateways, definitions.deployments, domain="gw.example.com", zone=None)
    served = snapshot_of(made, DataPlane())
    assert served.version


def _again(kind: Kind, spec: Mapping[str, Any]) -> None:
    """Parse what the store keeps of a definition: it defines the same."""
    parsed = parse_gateway(spec) if kind is Kind.GATEWAY else parse_deployment(spec)
    errors = (
        [str(error) for error in parsed if isinstance(error, FieldError)] if isinstance(parsed, list) else []
    )
    assert not [error for error in errors if "apiKey" not in error], errors
