"""The bootstrap of a fleet's Envoy: what it asks for, what it shows to others, and that Envoy takes it."""

import json
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from igw_cli.envoy import envoy_command
from igw_xds.bootstrap import Node, bootstrap
from igw_xds.settings import HostPort

NODE = Node("envoy-1", "US-EAST-04A", HostPort("127.0.0.1", 9901), HostPort("127.0.0.1", 18000))
AT_SOCKET = replace(NODE, xds=Path("/run/igw/ads"))
SHOWN = replace(NODE, stats=HostPort("0.0.0.0", 9902))
BOUNDED = replace(NODE, heap_bytes=1024**3)


def only(values: list[Any]) -> Any:
    """Give the one value that there is."""
    [value] = values
    return value


def test_it_waits_for_its_configuration() -> None:
    """ADS for everything; not ready with nothing to serve, however long; a lost control plane is tried every 5 s."""
    source = {"ads": {}, "initial_fetch_timeout": "0s", "resource_api_version": "V3"}
    dynamic = bootstrap(NODE)["dynamic_resources"]
    assert (dynamic["cds_config"], dynamic["lds_config"]) == (source, source)
    assert only(dynamic["ads_config"]["grpc_services"])["envoy_grpc"] == {
        "cluster_name": "igw-xds",
        "retry_policy": {"retry_back_off": {"base_interval": "0.500s", "max_interval": "5s"}},
    }
    assert bootstrap(NODE)["node"] == {
        "id": "envoy-1",
        "cluster": "igw",
        "locality": {"zone": "US-EAST-04A"},
    }


def test_a_control_plane_at_a_socket() -> None:
    """Its agent's: a path instead of an address, with the same connection to it otherwise."""
    over_tcp = only(bootstrap(NODE)["static_resources"]["clusters"])
    cluster = only(bootstrap(AT_SOCKET)["static_resources"]["clusters"])
    address = {"pipe": {"path": "/run/igw/ads"}}
    only(over_tcp["load_assignment"]["endpoints"][0]["lb_endpoints"])["endpoint"]["address"] = address
    assert cluster == over_tcp


def test_nothing_is_shown_unless_asked_for() -> None:
    """Without an address for it there is no listener, and no way to the admin interface."""
    static = bootstrap(NODE)["static_resources"]
    assert [cluster["name"] for cluster in static["clusters"]] == ["igw-xds"]
    assert "listeners" not in static


def test_what_is_shown() -> None:
    """Two exact request lines and their fixed targets; bounds; a stats prefix that is not the clients'."""
    document = bootstrap(SHOWN)
    listener = only(document["static_resources"]["listeners"])
    manager = only(only(listener["filter_chains"])["filters"])["typed_config"]
    routes = only(manager["route_config"]["virtual_hosts"])["routes"]

    def route(path: str, to: str) -> dict[str, Any]:
        headers = [
            {"name": name, "string_match": {"exact": value}}
            for name, value in ((":method", "GET"), (":path", path))
        ]
        return {
            "match": {"path": path, "headers": headers},
            "route": {"cluster": "igw-admin", "prefix_rewrite": to, "timeout": "30s"},
        }

    assert routes == [route("/metrics", "/stats/prometheus?usedonly"), route("/ready", "/ready")]
    assert listener["address"] == {"socket_address": {"address": "0.0.0.0", "port_value": 9902}}
    assert (listener["ignore_global_conn_limit"], listener["drain_type"]) == (True, "MODIFY_ONLY")
    assert (manager["stat_prefix"], manager["codec_type"]) == ("igw_stats", "HTTP1")
    assert (manager["request_headers_timeout"], manager["request_timeout"]) == ("5s", "5s")
    runtime = only(document["layered_runtime"]["layers"])["static_layer"]
    assert runtime["envoy.resource_limits.listener.igw-stats.connection_limit"] == 100
    endpoints = only(document["static_resources"]["clusters"][1]["load_assignment"]["endpoints"])
    address = only(endpoints["lb_endpoints"])["endpoint"]["address"]["socket_address"]
    assert address == {"address": "127.0.0.1", "port_value": 9901}


@pytest.mark.parametrize(
    "xds", [HostPort("10.0.0.1", 18000), HostPort("control-plane", 18000), AT_SOCKET.xds]
)
@pytest.mark.parametrize("stats", [None, HostPort("0.0.0.0", 9902), HostPort("::1", 9902)])
def test_envoy_takes_it(tmp_path: Path, xds: HostPort | Path, stats: HostPort | None) -> None:
    """The real one, for addresses, names and sockets."""
    path = tmp_path / "envoy.json"
    path.write_text(json.dumps(bootstrap(replace(BOUNDED, xds=xds, stats=stats))))
    command = [envoy_command(), "--mode", "validate", "--log-level", "error", "-c", str(path)]
    subprocess.run(command, check=True, capture_output=True)


def test_a_bounded_heap() -> None:
    """It gives way in steps, each before the next; without a bound only connections are counted."""
    monitors = [monitor["name"] for monitor in bootstrap(NODE)["overload_manager"]["resource_monitors"]]
    assert monitors == ["envoy.resource_monitors.global_downstream_max_connections"]
    manager = bootstrap(BOUNDED)["overload_manager"]
    assert manager["resource_monitors"][1]["typed_config"]["max_heap_size_bytes"] == str(BOUNDED.heap_bytes)
    steps = {step["name"].rpartition(".")[2]: only(step["triggers"]) for step in manager["actions"]}
    assert [step for step in steps if "threshold" in steps[step]] == [
        "shrink_heap",
        "disable_http_keepalive",
        "stop_accepting_requests",
    ]
    at = [trigger["threshold"]["value"] for trigger in steps.values() if "threshold" in trigger]
    [shut] = {only(point["triggers"])["threshold"]["value"] for point in manager["loadshed_points"]}
    assert [*at, shut] == sorted({*at, shut})
    shown = only(bootstrap(SHOWN)["static_resources"]["listeners"])
    assert shown["bypass_overload_manager"]
