"""A golden case: definitions in, the plan and Envoy's whole static configuration out, as YAML with sorted keys.

A folder holds `definitions.yaml`, and `options.yaml` where it needs zone, domain, organization, auth_transport,
body_routing, usage_log or traces (an address), containers: the addresses of those that were found, by the name of their
deployment, or owners: the entities of the owner of a gateway's apiKey, by the gateway's name.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any

import yaml
from igw_model.definitions import Definitions
from igw_store.files import load
from igw_xds.access import OwnedBy
from igw_xds.bootstrap import static_bootstrap
from igw_xds.plan import Plan, plan
from igw_xds.resources.everything import snapshot_of
from igw_xds.settings import AuthTransport, BodyRouting, DataPlane, HostPort
from igw_xds.snapshot import Snapshot
from pydantic import BaseModel

from tests.builders import containers

HERE = Path(__file__).parent
CASES = tuple(sorted(path.parent for path in HERE.glob("*/definitions.yaml")))
OPTIONS: dict[str, Any] = {
    "domain": "gw.example.com",
    "organization": None,
    "zone": None,
    "auth_transport": "http",
    "body_routing": "auto",
    "usage_log": None,
    "traces": None,
    "containers": {},
    "owners": {},
}


@dataclass(frozen=True, slots=True)
class Case:
    """What a case's definitions become."""

    plan: Plan
    snapshot: Snapshot

    @property
    def plan_yaml(self) -> str:
        """Give the content of `plan.yaml`."""
        return _yaml(_document(self.plan))

    @property
    def envoy_yaml(self) -> str:
        """Give the content of `envoy.yaml`: without the text of scripts, which are files of their own."""
        return _yaml(_without_scripts(self.bootstrap))

    @property
    def bootstrap(self) -> Any:
        """Give the whole configuration, as Envoy reads it."""
        return static_bootstrap(self.snapshot, HostPort("127.0.0.1", 9901))


def case(folder: Path) -> Case:
    """Take a folder's definitions through the whole pipeline."""
    options = _options(folder / "options.yaml")
    definitions = _definitions(folder / "definitions.yaml", options["organization"])
    planned = plan(
        definitions.gateways,
        definitions.deployments,
        domain=options["domain"],
        zone=options["zone"],
        replicas={
            d.id: containers(d, *options["containers"].get(d.name, ())) for d in definitions.deployments
        },
        owners={
            g.id: OwnedBy(frozenset(options["owners"][g.name]))
            for g in definitions.gateways
            if g.name in options["owners"]
        },
    )
    return Case(planned, snapshot_of(planned, _data_plane(options)))


def _data_plane(options: Mapping[str, Any]) -> DataPlane:
    return DataPlane(
        auth_transport=AuthTransport(options["auth_transport"]),
        body_routing=BodyRouting(options["body_routing"]),
        usage_log=_address(options["usage_log"]),
        traces=_address(options["traces"]),
    )


def _address(text: str | None) -> HostPort | None:
    if text is None:
        return None
    host, _, port = text.rpartition(":")
    return HostPort(host, int(port))


def _options(path: Path) -> dict[str, Any]:
    given = yaml.safe_load(path.read_text(encoding="utf-8")) if path.exists() else {}
    assert given.keys() <= OPTIONS.keys(), f"{path}: unknown option"
    return {**OPTIONS, **given}


def _definitions(path: Path, organization: str | None) -> Definitions:
    loaded = load([path], organization)
    assert not loaded.errors, [str(error) for error in loaded.errors]
    return loaded.definitions


def _document(value: Any) -> Any:
    """Give a value of the plan as plain YAML types."""
    match value:
        case BaseModel():
            return _document(value.model_dump())
        case Mapping():
            return {key: _document(item) for key, item in value.items()}
        case tuple() | list():
            return [_document(item) for item in value]
        case str():
            return str(value)
        case _ if is_dataclass(value):
            return {field.name: _document(getattr(value, field.name)) for field in fields(value)}
        case _:
            return value


def _without_scripts(value: Any) -> Any:
    match value:
        case {"@type": str(kind), "default_source_code": _} if kind.endswith(".lua.v3.Lua"):
            return {**value, "default_source_code": {"inline_string": "<script>"}}
        case dict():
            return {key: _without_scripts(item) for key, item in value.items()}
        case list():
            return [_without_scripts(item) for item in value]
        case _:
            return value


def _yaml(document: Any) -> str:
    text: str = yaml.safe_dump(document, sort_keys=True, allow_unicode=True, width=110)
    return text
