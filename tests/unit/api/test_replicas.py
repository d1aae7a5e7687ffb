"""Replicas that register themselves, over REST; and the events of all writes."""

from dataclasses import replace
from typing import Any

import pytest
import pytest_asyncio
from igw_api import events, replicas
from igw_model.record import NEVER, Kind, Replica
from igw_store import reading

from tests.builders import deployment_id, gateway_id, static, without
from tests.unit.api.documents import deployment_body, gateway_body, managed_body
from tests.unit.api.installation import (
    ADMIN,
    BEGIN_TEXT,
    OTHER,
    SETTINGS,
    VIEWER,
    Installation,
    Reply,
    installation,
    with_settings,
)

REPLICAS = f"/deployments/{deployment_id(1)}/replicas"


@pytest_asyncio.fixture
async def api(api: Installation) -> Installation:
    """Give an API with a deployment that has no backend."""
    await api.call("POST", "/gateways", gateway_body(id=gateway_id(1)))
    await api.call("POST", "/deployments", managed_body(id=deployment_id(1)))
    return api


def heartbeat(**fields: Any) -> dict[str, Any]:
    """Give what a replica says of itself."""
    return {"address": "10.0.0.7", "port": 8000, "ttlSeconds": 30, **fields}


async def beat(api: Installation, name: str = "a", *, token: str = ADMIN, **fields: Any) -> Reply:
    """Send one heartbeat."""
    return await api.call("PUT", f"{REPLICAS}/{name}", heartbeat(**fields), token=token)


async def names(api: Installation) -> list[str]:
    """Give the names of those that count."""
    return [replica["name"] for replica in (await api.call("GET", REPLICAS)).body["items"]]


async def replica_events(api: Installation) -> list[tuple[str, str]]:
    """Give what happened to replicas."""
    return [(event["action"], event["name"]) for event in await api.events() if event["kind"] == "replica"]


async def test_a_heartbeat_registers_until_its_time_is_over(api: Installation) -> None:
    """`PUT` answers the replica and when it expires; the list has it until then, and not a moment longer."""
    shown = {"name": "a", "address": "10.0.0.7", "port": 8000, "expiresAt": "2026-01-31T08:00:30Z"}
    assert await beat(api) == Reply(200, {"replica": shown})
    assert await api.call("GET", REPLICAS, token=VIEWER) == Reply(200, {"items": [shown]})
    api.later(seconds=29)
    assert await names(api) == ["a"]
    api.later(seconds=1)
    assert await names(api) == []


async def test_a_heartbeat_that_changes_nothing_is_no_event(api: Installation) -> None:
    """Joining, moving and coming back are events; staying is not."""
    await beat(api)
    api.later(seconds=20)
    await beat(api)
    assert await replica_events(api) == [("REGISTER", "a")]
    await beat(api, port=8001)
    api.later(seconds=31)
    await beat(api, port=8001)
    assert await replica_events(api) == [("REGISTER", "a")] * 3


async def test_a_replica_leaves(api: Installation) -> None:
    """`DELETE` answers the replica as it was; one that is not there, or whose time is over, is not found."""
    kept = await beat(api)
    await beat(api, "b", ttlSeconds=1)
    assert await api.call("DELETE", f"{REPLICAS}/a") == kept
    api.later(seconds=1)
    for name in ("a", "b", "c"):
        answer = await api.call("DELETE", f"{REPLICAS}/{name}")
        assert (answer.status, answer.body["message"]) == (404, f"replica {name} not found")
    assert await replica_events(api) == [("REGISTER", "a"), ("REGISTER", "b"), ("LEAVE", "a")]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"address": None}, "address: is required"),
        ({"address": "models.internal"}, "address: must be an IP address; for a host name use dnsBackend"),
        ({"address": "::ffff:10.0.0.1%eth0"}, "address: must not have a zone id"),
        ({"address": "169.254.169.254"}, "address: is not in a network where backends may be"),
        ({"address": "::ffff:192.168.0.1"}, "address: is not in a network where backends may be"),
        ({"port": 0}, "port: must be at least 1"),
        ({"port": 65536}, "port: must be at most 65535"),
        ({"ttlSeconds": 0}, "ttlSeconds: must be at least 1"),
        ({"ttlSeconds": 3601}, "ttlSeconds: must be at most 3600"),
        ({"name": "b"}, "name: must be left out, or be the one in the path"),
        ({"weight": 1}, "weight: unknown field"),
    ],
)
async def test_a_broken_rule_names_its_field(api: Installation, fields: dict[str, Any], message: str) -> None:
    """A heartbeat is held to its rules: a stranger must not point a gateway at an internal address."""
    answer = await api.call("PUT", f"{REPLICAS}/a", heartbeat(**fields))
    assert (answer.status, answer.body["code"], answer.body["message"]) == (400, "invalid_argument", message)
    assert await names(api) == []


async def test_a_replicas_name_is_plain(api: Installation) -> None:
    """A name has letters, digits, '.', '_' and '-', at most 128."""
    rule = "name: must be 1 to 128 letters, digits, '.', '_' and '-', the first a letter or digit"
    for name in ("-a", "a" * 129, "a%20b"):
        answer = await beat(api, name)
        assert (answer.status, answer.body["message"]) == (400, rule)


@pytest.mark.parametrize(
    "backend",
    [
        {"staticBackend": static(9001)},
        {"dnsBackend": {"hostname": "models.internal", "port": 80}},
        {"dockerBackend": {"port": 80}},
    ],
)
async def test_a_deployment_with_a_backend_takes_no_replica(backend: dict[str, Any]) -> None:
    """Where a spec says where replicas are, none may register: `failed_precondition`."""
    settings = with_settings(backends=replace(SETTINGS.backends, dns=True, docker=True))
    async with installation(settings) as api:
        await api.call("POST", "/gateways", gateway_body(id=gateway_id(1)))
        body = {**without(deployment_body(id=deployment_id(1)), "staticBackend"), **backend}
        assert (await api.call("POST", "/deployments", body)).status == 200
        answer = await beat(api)
    [key] = backend
    message = f"deployment has a {key}: its replicas are not registered"
    assert (answer.status, answer.body["code"], answer.body["message"]) == (
        412,
        "failed_precondition",
        message,
    )


async def test_a_container_is_listed_and_is_not_the_apis(api: Installation) -> None:
    """What the control plane found has no expiry, whatever the time, and does not leave by a call."""
    found = Replica(deployment_id(1), "models-llama-1", "172.18.0.4", 8000, NEVER)
    await api.store.write(lambda write: write.put_replica(found))
    api.later(days=1000)
    shown = {"name": "models-llama-1", "address": "172.18.0.4", "port": 8000}
    assert await api.call("GET", REPLICAS) == Reply(200, {"items": [shown]})
    answer = await api.call("DELETE", f"{REPLICAS}/models-llama-1")
    assert (answer.status, answer.body["code"], answer.body["message"]) == (
        412,
        "failed_precondition",
        "replica models-llama-1 is a container: it leaves when that stops",
    )
    assert await names(api) == ["models-llama-1"]


async def test_a_deployment_that_is_going_takes_no_replica(api: Installation) -> None:
    """Nobody joins what is being deleted; what never was, or is another's, is not found."""
    await api.call("DELETE", f"/deployments/{deployment_id(1)}")
    assert (await beat(api)).status == 412
    assert (await beat(api, token=OTHER)).status == 404
    assert (await api.call("GET", REPLICAS, token=OTHER)).status == 404
    await api.remove(Kind.DEPLOYMENT, deployment_id(1))
    assert (await beat(api)).status == 404


async def test_viewers_register_nothing(api: Installation) -> None:
    """A heartbeat is a write."""
    assert (await beat(api, token=VIEWER)).status == 403


async def test_replicas_are_bounded(api: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the bound is `failed_precondition`, not a status that clients retry; who is there may stay."""
    monkeypatch.setattr(replicas, "MOST", 2)
    assert [(await beat(api, name)).status for name in ("a", "b", "c", "a")] == [200, 200, 412, 200]
    api.later(seconds=30)
    assert (await beat(api, "c")).status == 200
    assert await names(api) == ["c"]


async def test_events_tell_who_wrote_what(api: Installation) -> None:
    """Every accepted write is a record of who, what, before and after; a refused one is none."""
    await api.call("POST", "/gateways", gateway_body(name="refused", zones=[]))
    created, _, *rest = await api.events()
    after = {**gateway_body(), "id": gateway_id(1), "organizationId": "acme"}
    assert created == {
        "number": 1,
        "time": BEGIN_TEXT,
        "principal": "local-admin",
        "action": "CREATE",
        "kind": "gateway",
        "id": gateway_id(1),
        "name": "chat",
        "after": after,
    }
    assert rest == []
    api.later(seconds=1)
    await api.call("PATCH", f"/gateways/{gateway_id(1)}", gateway_body(name="talk"))
    answer = await api.call("GET", "/events", updatedAfter=BEGIN_TEXT)
    (updated,) = answer.body["items"]
    assert (updated["action"], updated["before"], updated["after"]) == (
        "UPDATE",
        after,
        {**after, "name": "talk"},
    )
    await beat(api)
    registered = (await api.events())[-1]
    where = {"name": "a", "address": "10.0.0.7", "port": 8000}
    assert (registered["id"], registered["name"], registered["after"]) == (deployment_id(1), "a", where)


async def test_events_are_the_organisations_own(api: Installation) -> None:
    """Another organisation's events are not told; filters are held to their rules."""
    assert await api.call("GET", "/events", token=OTHER) == Reply(200, {"items": []})
    assert (await api.call("GET", "/events", updatedAfter="x")).status == 400
    assert (await api.call("GET", "/events", limit=5)).body["message"] == "limit: unknown field"


async def test_events_are_read_in_pages(api: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    """With `updatedAfter` the oldest come first, so that who goes on from the last one misses none."""
    monkeypatch.setattr(events, "MOST", 2)
    for name in ("b", "c", "d"):
        api.later(seconds=1)
        await beat(api, name)
    assert await event_numbers(api) == [4, 5]
    seen, last = [1, 2], BEGIN_TEXT
    while page := (await api.call("GET", "/events", updatedAfter=last)).body["items"]:
        assert len(page) <= 2
        seen, last = seen + [event["number"] for event in page], page[-1]["time"]
    assert seen == [1, 2, 3, 4, 5]


async def test_events_are_bounded_by_their_size(api: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer ends where its specs are too large, at the end that `updatedAfter` goes on from; one is always told."""
    monkeypatch.setattr(reading, "_EVENT_CHARACTERS", 1)
    api.later(seconds=1)
    await beat(api)
    assert await event_numbers(api) == [3]
    assert await event_numbers(api, updatedAfter="2026-01-31T07:00:00Z") == [1]


async def event_numbers(api: Installation, **query: str) -> list[int]:
    """Give the numbers of the events that are told."""
    return [event["number"] for event in (await api.call("GET", "/events", **query)).body["items"]]
