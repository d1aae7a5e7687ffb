"""The client commands against the real API on loopback: what they print, what they change, how they end."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from igw_cli.client import Exit
from igw_model.record import NEVER, Replica

from tests.builders import deployment_id, deployment_spec, gateway_id, gateway_spec, without, write
from tests.unit.cli.api_server import ApiServer, api_server
from tests.unit.cli.program import Done, run


@pytest.fixture
def api() -> Iterator[ApiServer]:
    """Give an API of an organisation without objects; acme is the caller's."""
    with api_server() as server:
        yield server


@pytest.fixture
def igw(api: ApiServer) -> Callable[..., Done]:
    """Give `igw` with the server and an admin's token in its environment."""
    environment = {"IGW_SERVER": api.url, "IGW_TOKEN": api.admin, "IGW_CONFIG": ""}
    return lambda *arguments, **more: run(*arguments, **{**environment, **more})


Igw = Callable[..., Done]


def put(igw: Igw, path: Path, *specs: dict[str, Any]) -> Done:
    """Apply specs as a file."""
    done = igw("apply", "-f", write(path / "file.yaml", *specs))
    assert done.status == 0, done.err
    return done


CHAT = without(gateway_spec(name="chat"), "organizationId")
STABLE = without(
    deployment_spec(1, name="stable", gatewayIds=["chat"], traffic={"weight": 900}), "organizationId", "id"
)
CANARY = without(
    deployment_spec(2, name="canary", gatewayIds=["chat"], traffic={"weight": 100}), "organizationId", "id"
)


def test_apply_creates_then_changes_nothing_then_changes_what_differs(
    igw: Igw, api: ApiServer, tmp_path: Path
) -> None:
    """Gateways may be named; an equal file writes nothing; a change shows its fields."""
    assert put(igw, tmp_path, STABLE, CHAT).lines == ["gateway/chat created", "deployment/stable created"]
    assert [d["spec"]["gatewayIds"] for d in api.items("deployments")] == [[gateway_id(1)]]
    assert put(igw, tmp_path, STABLE, CHAT).lines == ["gateway/chat unchanged", "deployment/stable unchanged"]
    assert len(api.items("events")) == 2
    changed = {**STABLE, "traffic": {"weight": 500}}
    assert put(igw, tmp_path, changed, CHAT).lines == [
        "gateway/chat unchanged",
        "deployment/stable changed",
        "  traffic.weight: 900 → 500",
    ]
    assert api.items("deployments")[0]["spec"]["traffic"] == {"weight": 500}


def test_apply_matches_by_id_first(igw: Igw, api: ApiServer, tmp_path: Path) -> None:
    """With an id the name may change; without one the name says which object it is."""
    put(igw, tmp_path, CHAT)
    assert put(igw, tmp_path, {**CHAT, "name": "talk"}).lines == [
        "gateway/talk changed",
        "  name: chat → talk",
    ]
    assert [(g["spec"]["id"], g["spec"]["name"]) for g in api.items("gateways")] == [(gateway_id(1), "talk")]
    renamed = {**without(CHAT, "id"), "name": "talk", "zones": ["us-east-04a"]}
    assert put(igw, tmp_path, renamed).lines == [
        "gateway/talk changed",
        '  zones: ["US-EAST-04A"] → ["us-east-04a"]',
    ]


def test_a_dry_run_changes_nothing(igw: Igw, api: ApiServer, tmp_path: Path) -> None:
    """It says what would be done, also for what names a gateway that is not there yet."""
    path = write(tmp_path / "file.yaml", STABLE, CHAT)
    done = igw("apply", "-f", path, "--dry-run")
    assert (done.status, done.lines) == (
        0,
        ["gateway/chat created (dry run)", "deployment/stable created (dry run)"],
    )
    assert (api.items("gateways"), api.items("events")) == ([], [])


def test_apply_as_json(igw: Igw, tmp_path: Path) -> None:
    """Pure JSON on standard output: object, action, changed fields."""
    put(igw, tmp_path, CHAT)
    path = write(tmp_path / "file.yaml", {**CHAT, "name": "talk"})
    done = igw("apply", "-f", path, "-o", "json")
    assert json.loads(done.out) == {
        "applied": [
            {
                "kind": "Gateway",
                "name": "talk",
                "id": gateway_id(1),
                "action": "changed",
                "changes": [{"path": "name", "before": "chat", "after": "talk"}],
            }
        ]
    }


def test_what_fails_does_not_stop_the_others(igw: Igw, api: ApiServer, tmp_path: Path) -> None:
    """The failure is told with file and document, and is the exit status."""
    other = {**CHAT, "id": gateway_id(2), "name": "other", "zones": ["NOWHERE-1"]}
    done = igw("apply", "-f", write(tmp_path / "file.yaml", other, CHAT, {**STABLE, "gatewayIds": ["none"]}))
    assert done.lines == ["gateway/chat created"]
    assert done.status == Exit.INVALID
    assert f"gateway/other ({tmp_path}/file.yaml, document 1): zones[0]: must be one of" in done.err
    assert "gatewayIds: no gateway has the name 'none'" in done.err
    assert [g["spec"]["name"] for g in api.items("gateways")] == ["chat"]


def test_a_key_is_sent_and_never_shown(igw: Igw, api: ApiServer, tmp_path: Path) -> None:
    """Not by apply, get, describe or events, in no form of output."""
    auth = {"apiKey": "hush-hush", "serverUrl": "https://wandb.example.com"}
    spec = {**without(CHAT, "coreWeaveAuth"), "weightsAndBiasesAuth": auth}
    outputs = [put(igw, tmp_path, spec), put(igw, tmp_path, {**spec, "name": "talk"})]
    outputs += [igw("apply", "-f", tmp_path / "file.yaml", "-o", o) for o in ("json", "yaml")]
    outputs += [igw("get", "gateways", "-o", o) for o in ("table", "json", "yaml")]
    outputs += [igw("describe", "gateway", "talk"), igw("events"), igw("events", "-o", "json")]
    assert [done.status for done in outputs] == [0] * len(outputs)
    assert not [done for done in outputs if "hush-hush" in done.out + done.err]
    assert "  weightsAndBiasesAuth.apiKey: (none) → (hidden)" in outputs[1].lines
    assert api.items("gateways")[0]["spec"]["weightsAndBiasesAuth"] == {
        "serverUrl": "https://wandb.example.com"
    }


def test_get(igw: Igw, tmp_path: Path) -> None:
    """A table for people; JSON and YAML that `igw apply` takes; one object by name or id, whatever its case."""
    put(igw, tmp_path, CHAT, STABLE, CANARY)
    table = igw("get", "gateways").lines
    assert table[0].split() == ["NAME", "STATUS", "ZONE", "AUTH", "ROUTING", "ENDPOINT", "AGE", "ID"]
    assert table[1].split()[:5] == ["chat", "CREATING", "US-EAST-04A", "coreweave", "body"]
    rows = [line.split()[:5] for line in igw("get", "deploy").lines[1:]]
    assert rows == [
        ["stable", "CREATING", "demo/small", "chat", "900"],
        ["canary", "CREATING", "demo/small", "chat", "100"],
    ]
    listed = json.loads(igw("get", "gateways", "-o", "json").out)
    one = json.loads(igw("get", "gateway", "chat", "-o", "json").out)
    assert listed == {"items": [one]}
    assert (one["kind"], one["spec"]) == ("Gateway", {**CHAT, "organizationId": "acme"})
    assert list(yaml.safe_load_all(igw("get", "gw", gateway_id(1).upper(), "-o", "yaml").out)) == [one]
    (tmp_path / "got.yaml").write_text(igw("get", "deployments", "-o", "yaml").out)
    assert igw("apply", "-f", tmp_path / "got.yaml").lines == [
        "deployment/stable unchanged",
        "deployment/canary unchanged",
    ]


def test_describe(igw: Igw, tmp_path: Path) -> None:
    """Spec, conditions, and a gateway's traffic."""
    put(igw, tmp_path, CHAT, STABLE, CANARY)
    text = igw("describe", "gateway", "chat").out
    assert "Gateway chat  CREATING" in text
    assert "zones:\n- US-EAST-04A" in text
    rows = [line.split() for line in text.splitlines() if "demo/small" in line]
    assert rows == [
        ["demo/small", "stable", "CREATING", "900", "90.0", "%"],
        ["demo/small", "canary", "CREATING", "100", "10.0", "%"],
    ]
    assert "Programmed" in text


def test_describe_shows_replicas(igw: Igw, api: ApiServer, tmp_path: Path) -> None:
    """Those that registered themselves, until when, and those that were found in containers."""
    spec = without(STABLE, "staticBackend") | {
        "id": deployment_id(1),
        "runtime": {"engine": "vllm"},
        "resources": {"instanceType": "gd-8xh100ib-i128", "gpuCount": 8},
        "model": {"name": "demo/small", "bucket": "b", "path": "p"},
        "autoscaling": {"min": 1, "max": 2},
    }
    put(igw, tmp_path, CHAT, spec)
    api.send(
        "PUT",
        f"deployments/{deployment_id(1)}/replicas/r1",
        {"address": "127.0.0.1", "port": 9000, "ttlSeconds": 60},
    )
    contained = Replica(deployment_id(1), "c1", "172.18.0.4", 9000, NEVER)
    api.write(lambda store: store.put_replica(contained))
    text = igw("describe", "deployment", "stable").out
    rows = [line.split() for line in text.splitlines() if ":9000" in line]
    assert [row[:2] for row in rows] == [["c1", "172.18.0.4:9000"], ["r1", "127.0.0.1:9000"]]
    assert [len(row) for row in rows] == [2, 3]


def test_delete(igw: Igw, api: ApiServer, tmp_path: Path) -> None:
    """By name or id; a gateway goes after its deployments; what is not there is an error unless told otherwise."""
    put(igw, tmp_path, CHAT, STABLE, CANARY)
    refused = igw("delete", "gateway", "chat")
    assert (refused.status, "cannot delete" in refused.err) == (Exit.CONFLICT, True)
    assert igw("delete", "deployments", "stable", "canary").lines == [
        "deployment/stable deleted",
        "deployment/canary deleted",
    ]
    assert igw("delete", "gateway", gateway_id(1)).lines == ["gateway/chat deleted"]
    api.settle()
    assert igw("delete", "gateway", "chat").status == Exit.NOT_FOUND
    assert igw("delete", "gateway", "chat", "--ignore-missing").status == 0


def test_delete_waits(igw: Igw, api: ApiServer, tmp_path: Path) -> None:
    """Until the object is gone, or in vain."""
    put(igw, tmp_path, CHAT)
    slow = igw("delete", "gateway", "chat", "--wait", "--timeout", "0.3")
    assert (slow.status, slow.err) == (
        Exit.UNFINISHED,
        "igw: still being deleted after 0.3 s: gateway/chat\n",
    )
    api.settle()
    assert igw("delete", "gateway", "chat", "--wait", "--ignore-missing").status == 0


def test_apply_waits(igw: Igw, api: ApiServer, tmp_path: Path) -> None:
    """READY is success; ERROR and lateness are status 7 with what the conditions say."""
    path = write(tmp_path / "file.yaml", CHAT)
    late = igw("apply", "-f", path, "--wait", "--timeout", "0.3")
    assert late.status == Exit.UNFINISHED
    assert late.err.startswith("igw: gateway/chat is CREATING\n  Pending: ")
    api.observe("READY", "Programmed", "Programmed proxies: 1/1")
    done = igw("apply", "-f", path, "--wait")
    assert (done.status, done.lines, done.err) == (0, ["gateway/chat unchanged"], "gateway/chat is READY\n")
    api.observe("ERROR", "Rejected", "Envoy says no\x1b[2J")
    failed = igw("apply", "-f", path, "--wait")
    assert (failed.status, failed.err) == (
        Exit.UNFINISHED,
        "igw: gateway/chat is ERROR\n  Rejected: Envoy says no\ufffd[2J\n",
    )


def test_traffic(igw: Igw, api: ApiServer, tmp_path: Path) -> None:
    """Weights by name; the table shows both shares; the rest of each spec stays as it was."""
    put(igw, tmp_path, CHAT, STABLE, CANARY)
    before = api.items("deployments")
    done = igw("traffic", "set", "demo/small", "stable=50", "canary=150", "--gateway", "chat")
    assert [line.split() for line in done.lines[1:]] == [
        ["stable", "900", "→", "50", "90.0", "%", "→", "25.0", "%"],
        ["canary", "100", "→", "150", "10.0", "%", "→", "75.0", "%"],
    ]
    assert [d["spec"] for d in api.items("deployments")] == [
        {**old["spec"], "traffic": {"weight": weight}} for old, weight in zip(before, (50, 150), strict=True)
    ]
    # What grows is written first: there is no moment at which all weights are small or zero.
    assert [event["name"] for event in api.items("events")[-2:]] == ["canary", "stable"]


@pytest.mark.parametrize("word", ["nobody=1", "large=1", "elsewhere=1"])
def test_traffic_for_strangers(igw: Igw, api: ApiServer, tmp_path: Path, word: str) -> None:
    """A deployment of another model, of another gateway, or of none is refused, and nothing is written."""
    other = {**CHAT, "id": gateway_id(2), "name": "other"}
    large = {**STABLE, "name": "large", "model": {"name": "demo/large"}}
    elsewhere = {**STABLE, "name": "elsewhere", "gatewayIds": ["other"]}
    put(igw, tmp_path, CHAT, other, STABLE, large, elsewhere)
    done = igw("traffic", "set", "demo/small", "stable=1", word, "--gateway", "chat")
    assert (done.status, done.err) == (
        Exit.INVALID,
        f"igw: {word[:-2]} serves no 'demo/small' on gateway 'chat'; these do: stable\n",
    )
    assert {d["spec"]["traffic"]["weight"] for d in api.items("deployments")} == {900}


def test_events(igw: Igw, tmp_path: Path) -> None:
    """Who did what; --since takes a time or an age."""
    put(igw, tmp_path, CHAT)
    put(igw, tmp_path, {**CHAT, "name": "talk"})
    rows = [line.split()[1:] for line in igw("events").lines[1:]]
    assert rows == [
        ["local-admin", "CREATE", "gateway", "chat"],
        ["local-admin", "UPDATE", "gateway", "talk", "name:", "chat", "→", "talk"],
    ]
    assert len(json.loads(igw("events", "--since", "1h", "-o", "json").out)["items"]) == 2
    assert igw("events", "--since", "2099-01-01T00:00:00Z").lines[1:] == []
    assert igw("events", "--since", "soon").status == Exit.INVALID


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (["get", "gateway", "none"], Exit.NOT_FOUND),
        (["get", "gateway", gateway_id(9)], Exit.NOT_FOUND),
        (["get", "volumes"], Exit.INVALID),
        (["get", "gateways", "--token", "wrong"], Exit.REFUSED),
        (["get", "gateways", "--server", "http://127.0.0.1:1"], Exit.UNAVAILABLE),
        (["get", "gateways", "--server", "nonsense"], Exit.INVALID),
        (["get", "gateways", "--no-such-option"], 2),
        (["traffic", "set", "m", "a=1", "--gateway", "none"], Exit.NOT_FOUND),
    ],
)
def test_exit_statuses(igw: Igw, arguments: list[str], status: int) -> None:
    """Each kind of failure has its own, with a message on standard error and nothing on standard output."""
    done = igw(*arguments)
    assert (done.status, done.out) == (status, "")
    assert done.err


def test_a_viewer_may_look_and_not_touch(igw: Igw, api: ApiServer, tmp_path: Path) -> None:
    """A write is refused with status 4."""
    path = write(tmp_path / "file.yaml", CHAT)
    done = igw("apply", "-f", path, IGW_TOKEN=api.viewer)
    assert (done.status, "permission_denied" in done.err) == (Exit.REFUSED, True)
    assert igw("get", "gateways", IGW_TOKEN=api.viewer).status == 0
