"""Files of `igw apply`: what is read, in which order, and every error at once."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from igw_cli.manifests import Manifest, ManifestsError, manifests
from igw_cli.objects import CLAIM, DEPLOYMENT, GATEWAY

from tests.builders import deployment_spec, gateway_spec, without, write

CLAIM_SPEC: dict[str, Any] = {
    "name": "claim",
    "resources": {
        "instanceId": "gd-8xh100ib-i128",
        "instanceCount": 1,
        "zones": ["US-EAST-04A"],
        "capacityType": "CAPACITY_TYPE_MANAGED",
    },
}


def read(path: Path, *documents: Any) -> list[Manifest]:
    """Read documents of a YAML file."""
    path.write_text(yaml.safe_dump_all(documents))
    return manifests([str(path)])


def test_gateways_come_first(tmp_path: Path) -> None:
    """Whatever the order of files and documents, what others name is made before them; origins are told."""
    one = write(tmp_path / "1.yaml", deployment_spec())
    two = tmp_path / "2.json"
    two.write_text(
        json.dumps(
            [{"kind": "CapacityClaim", "spec": CLAIM_SPEC}, {"kind": "Gateway", "spec": gateway_spec()}]
        )
    )
    assert manifests([str(tmp_path)]) == [
        Manifest(GATEWAY, gateway_spec(), f"{two}, document 2"),
        Manifest(DEPLOYMENT, deployment_spec(), f"{one}, document 1"),
        Manifest(CLAIM, CLAIM_SPEC, f"{two}, document 1"),
    ]


def test_what_get_prints_can_be_applied(tmp_path: Path) -> None:
    """A status is read over, and a list is its items."""
    document = {"kind": "Gateway", "spec": gateway_spec(), "status": {"status": "STATUS_READY"}}
    for content in (document, {"items": [document]}):
        [manifest] = read(tmp_path / "g.yaml", content)
        assert (manifest.kind, manifest.spec) == (GATEWAY, gateway_spec())


def test_id_and_organisation_may_be_left_out(tmp_path: Path) -> None:
    """The server gives both."""
    spec = without(gateway_spec(), "id", "organizationId")
    [manifest] = read(tmp_path / "g.yaml", {"kind": "Gateway", "spec": spec})
    assert manifest.spec == spec


def test_every_error_at_once(tmp_path: Path) -> None:
    """Each with its file, document and field; nothing is sent then."""
    path = tmp_path / "g.yaml"
    with pytest.raises(ManifestsError) as broken:
        read(
            path,
            {"kind": "Gateway", "spec": gateway_spec(zones=[])},
            {"kind": "Deployment", "spec": deployment_spec(traffic={"weight": 1001})},
            {
                "kind": "CapacityClaim",
                "spec": {**CLAIM_SPEC, "resources": {**CLAIM_SPEC["resources"], "instanceCount": 0}},
            },
            {"kind": "Volume", "spec": {}},
            {"spec": {}},
        )
    assert str(broken.value).splitlines() == [
        f"{path}, document 1: zones: must have exactly one zone",
        f"{path}, document 2: traffic.weight: must be at most 1000",
        f"{path}, document 3: resources.instanceCount: must be at least 1",
        f"{path}, document 4: kind: must be Gateway, Deployment, CapacityClaim",
        f"{path}, document 5: must be an object {{kind, spec}}",
    ]


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        (
            "a.yaml",
            "kind: Gateway\nkind: Gateway",
            "cannot be read: line 1, column 1: key 'kind' is written twice",
        ),
        (
            "a.yaml",
            "apiKey: hush: hush",
            "cannot be read: line 1, column 13: mapping values are not allowed here",
        ),
        (
            "a.json",
            '{"apiKey": "hush" "',
            "cannot be read: Expecting ',' delimiter: line 1 column 19 (char 18)",
        ),
        ("a.yaml", "", "holds no definition"),
        ("a.yaml", None, "cannot be read: No such file or directory"),
    ],
)
def test_files_that_cannot_be_read(tmp_path: Path, name: str, text: str | None, reason: str) -> None:
    """The place and the reason are told, and nothing is quoted: it may be a key."""
    path = tmp_path / name
    if text is not None:
        path.write_text(text)
    with pytest.raises(ManifestsError) as broken:
        manifests([str(path)])
    assert str(broken.value) == f"{path}: {reason}"
