"""What an operator sees of an Envoy: `igw proxies`, `igw diff` and the client status discovery service."""

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import httpx
import pytest
from envoy.admin.v3.config_dump_shared_pb2 import ClientResourceStatus
from envoy.service.status.v3.csds_pb2 import ClientConfig, ClientStatusRequest, ConfigStatus
from envoy.service.status.v3.csds_pb2_grpc import ClientStatusDiscoveryServiceStub
from envoy.type.matcher.v3.node_pb2 import NodeMatcher
from envoy.type.matcher.v3.string_pb2 import StringMatcher
from igw_xds.snapshot import CLUSTER, ENDPOINTS, LISTENER, ROUTES, SCOPE

from tests.real_envoy.running import Running, eventually
from tests.real_envoy.test_status import TOO_LARGE, Api, restart_envoy, strict
from tests.unit.cli.program import Done, run

Igw = Callable[..., Done]
SEEN_SECONDS = 1.0
"""In which a refusal must be seen."""


def igw(gateway: Running) -> Igw:
    """Give `igw` as the local admin of a gateway."""
    ready = gateway.ready
    known = {"IGW_SERVER": ready["api"], "IGW_TOKEN_FILE": ready["adminTokenFile"], "IGW_CONFIG": ""}
    return lambda *arguments: run(*arguments, **known)


def compared(gateway: Running, *options: str) -> Done:
    """Compare what the gateway's Envoy runs with what it should."""
    return igw(gateway)("diff", "local", "--admin", gateway.ready["envoyAdmin"], *options)


@pytest.fixture
def status(gateway: Running) -> Iterator[Any]:
    """Give what asks the control plane of the shared gateway."""
    with grpc.insecure_channel(f"127.0.0.1:{gateway.option('xds', '--port')}") as channel:
        yield ClientStatusDiscoveryServiceStub(channel)


def named(proxy: str, **more: Any) -> ClientStatusRequest:
    """Ask for one proxy."""
    return ClientStatusRequest(node_matchers=[NodeMatcher(node_id=StringMatcher(exact=proxy))], **more)


def by_name(config: ClientConfig) -> dict[tuple[str, str], ClientConfig.GenericXdsConfig]:
    """Give what is told of resources, by type and name."""
    return {(one.type_url, one.name): one for one in config.generic_xds_configs}


def test_an_envoy_in_step_runs_what_it_should(gateway: Running) -> None:
    """It is listed as synced; its own dump has every resource of every type, and none differs."""
    table = igw(gateway)("proxies").lines
    assert table[0].split() == [
        *("PROXY", "ZONE", "VERSION", "CONNECTED", "STATE", "CANARY", "LAST", "ACK", "LAST", "NACK")
    ]
    assert table[1].split()[:3] == ["local", "local", "1.40.0"]
    assert table[-1] == "1 of 1 have the newest configuration."
    [proxy] = json.loads(igw(gateway)("proxies", "-o", "json").out)["items"]
    assert (proxy["id"], proxy["state"], proxy["canary"]) == ("local", "SYNCED", True)
    assert (compared(gateway).status, compared(gateway).lines) == (0, ["local runs what it should."])
    resources = Api(gateway).call("GET", "proxies/local/resources")["resources"]
    assert {kind: len(names) > 0 for kind, names in resources.items()} == dict.fromkeys(
        ("cds", "eds", "sds", "lds", "srds", "rds"), True
    )


def test_what_the_api_shows_is_what_envoy_shows(gateway: Running) -> None:
    """A resource's content has the fields and values of Envoy's own dump, so that the two can be compared."""
    dump = httpx.get(f"{gateway.ready['envoyAdmin']}/config_dump?resource=dynamic_route_configs").json()
    for route in (one["route_config"] for one in dump["configs"]):
        shown = Api(gateway).call("GET", f"proxies/local/resources/rds/{route['name']}")["resource"]
        assert shown["content"] == route


def test_the_client_status_of_an_envoy_in_step(gateway: Running, status: Any) -> None:
    """A tool is told every resource that Envoy acknowledged, with version and content, or without when it says so."""
    versions = Api(gateway).call("GET", "proxies/local/resources")["resources"]
    [config] = status.FetchClientStatus(named("local")).config
    assert (config.node.id, config.node.locality.zone) == ("local", "local")
    assert config.node.user_agent_build_version.version.minor_number == 40
    told = by_name(config)
    for kind, type_url in zip(
        ("cds", "eds", "lds", "srds", "rds"), (CLUSTER, ENDPOINTS, LISTENER, SCOPE, ROUTES), strict=True
    ):
        ours = {name: one for (url, name), one in told.items() if url == type_url and one.version_info}
        assert {name: one.version_info for name, one in ours.items()} == versions[kind]
        assert {one.client_status for one in ours.values()} == {ClientResourceStatus.ACKED}
        assert {one.config_status for one in ours.values()} == {ConfigStatus.SYNCED}
        assert {one.xds_config.type_url for one in ours.values()} == {type_url}
    [bare] = status.FetchClientStatus(named("local", exclude_resource_contents=True)).config
    everyone = list(status.StreamClientStatus(iter([ClientStatusRequest(), named("nobody")])))
    assert [len(answer.config) for answer in everyone] == [1, 0]
    assert by_name(bare) == by_name(everyone[0].config[0])
    assert not any(one.HasField("xds_config") for one in bare.generic_xds_configs)


def test_an_envoy_that_refuses_is_shown_as_it_is(own_gateway: Running) -> None:
    """Its words are seen within a second; the difference names what it lacks; what is mended is no difference."""
    api, port = Api(own_gateway), own_gateway.replica_port("small-a")
    gateway = api.gateway("picky", pathBasedRouting={})
    bad = api.deployment("bad", gateway, TOO_LARGE, port)
    eventually(lambda: api.statuses() == {"STATUS_READY"})
    restart_envoy(own_gateway, strict)
    name = f"gateway/{gateway['id']}"

    def proxy() -> Any:
        return next(iter(api.call("GET", "proxies")["items"]), {"state": ""})

    eventually(lambda: proxy()["state"] == "REFUSES")
    assert "program size" in proxy()["reason"]
    eventually(lambda: len(json.loads(compared(own_gateway, "-o", "json").out)["differences"]) == 1)
    shown = compared(own_gateway, "-o", "json", "-v")
    [one] = json.loads(shown.out)["differences"]
    version = api.call("GET", "proxies/local/resources")["resources"]["rds"][name]
    assert (shown.status, one["type"], one["name"], one["difference"], one["should"]) == (
        *(1, "rds", name),
        *("missing", version),
    )
    assert one["content"].startswith(f"--- rds/{name} should be {version}\n+++ rds/{name} is\n@@ ")
    with grpc.insecure_channel(f"127.0.0.1:{own_gateway.option('xds', '--port')}") as channel:
        [config] = ClientStatusDiscoveryServiceStub(channel).FetchClientStatus(named("local")).config
    refused = by_name(config)[ROUTES, name]
    assert (refused.client_status, refused.config_status, refused.version_info) == (
        *(ClientResourceStatus.NACKED, ConfigStatus.ERROR),
        "",
    )
    assert "program size" in refused.error_state.details
    assert (refused.error_state.version_info, refused.error_state.failed_configuration.type_url) == (
        *(version, ROUTES),
    )
    api.call("DELETE", f"deployments/{bad['id']}")
    eventually(lambda: proxy()["state"] == "SYNCED")
    assert compared(own_gateway).status == 0
    other = api.gateway("other", pathBasedRouting={})
    began = time.monotonic()
    api.deployment("worse", other, TOO_LARGE, port)
    eventually(lambda: "lastNack" in proxy() and proxy()["lastNack"]["names"] == [f"gateway/{other['id']}"])
    assert time.monotonic() - began < SEEN_SECONDS
    eventually(lambda: f"gateway/{other['id']}" in igw(own_gateway)("proxies").out.partition("Held back")[2])
    [zone] = api.call("GET", "proxies")["zones"]
    assert [(r["type"], r["name"], r["proxy"]) for r in zone["refused"]] == [
        ("rds", f"gateway/{other['id']}", "local")
    ]
