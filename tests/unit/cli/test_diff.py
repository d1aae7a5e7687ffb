"""`igw diff`: what an Envoy's dump says that it runs, beside what it should run."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import Any

import pytest
from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import Secret
from google.protobuf.json_format import MessageToDict
from hypothesis import given
from hypothesis import strategies as st
from igw_cli.comparison import Difference, Kind, content_difference, differences
from igw_cli.held import Held, held
from igw_xds.distribution import Distributions
from igw_xds.fleet import Fleet, Proxy
from igw_xds.inspection import TYPES, Inspection
from igw_xds.plan import Zoning
from igw_xds.snapshot import SECRET, Snapshot, resource
from igw_xds.stream import DeltaStream, SotwStream

from tests.builders import deployment, gateway, gateway_id, served
from tests.unit.cli.api_server import ApiServer, api_server
from tests.unit.cli.program import Done, run
from tests.unit.xds_stream.test_fleet import Connected

ROUTES = f"gateway/{gateway_id(1)}"
CERTIFICATE = resource("certificate/x", Secret(name="certificate/x"))
SERVED = served(gateway(1), gateway(2), deployment(1))


def written(snapshot: Snapshot, kind: str) -> list[tuple[str, str, dict[str, Any]]]:
    """Give resources as Envoy writes them: name, version, content."""
    resources = snapshot.of(TYPES[kind]).values()
    return [(r.name, r.version, MessageToDict(r.body, preserving_proto_field_name=True)) for r in resources]


def dump_of(snapshot: Snapshot) -> dict[str, Any]:
    """Give the dump of an Envoy that runs a snapshot, as Envoy 1.40 writes it."""
    clusters = [{"version_info": v, "cluster": content} for _, v, content in written(snapshot, "cds")]
    listeners = [
        {"name": name, "active_state": {"version_info": v, "listener": content}}
        for name, v, content in written(snapshot, "lds")
    ]
    scopes = [content for *_, content in written(snapshot, "srds")]
    routes = [{"version_info": v, "route_config": content} for _, v, content in written(snapshot, "rds")]
    static = {"cluster_name": "igw-extauth", "policy": {"overprovisioning_factor": 140}}
    endpoints = [static, *(_lived(content) for *_, content in written(snapshot, "eds"))]
    parts: dict[str, dict[str, Any]] = {
        "Bootstrap": {},
        "Clusters": {
            "static_clusters": [{"cluster": {"name": "igw-xds"}}],
            "dynamic_active_clusters": clusters,
        },
        "Endpoints": {"dynamic_endpoint_configs": [{"endpoint_config": one} for one in endpoints]},
        "Listeners": {"dynamic_listeners": listeners},
        "Secrets": {
            "dynamic_active_secrets": [
                {"name": name, "version_info": v} for name, v, _ in written(snapshot, "sds")
            ]
        },
        "ScopedRoutes": {"dynamic_scoped_route_configs": [{"name": "hosts", "scoped_route_configs": scopes}]},
        "Routes": {"dynamic_route_configs": routes},
    }
    kind = "type.googleapis.com/envoy.admin.v3.{}ConfigDump"
    return {"configs": [{"@type": kind.format(name), **part} for name, part in parts.items()]}


def _lived(assignment: dict[str, Any]) -> dict[str, Any]:
    """Give endpoints as Envoy tells them after a while: with their health and weights."""
    endpoints = [
        {**one, "endpoint": {**one["endpoint"], "health_check_config": {}}, "health_status": "HEALTHY"}
        for one in assignment["endpoints"][0]["lb_endpoints"]
    ]
    localities = [{"locality": {}, "lb_endpoints": endpoints, "load_balancing_weight": 0}]
    return {**assignment, "endpoints": localities}


def expected_of(snapshot: Snapshot) -> dict[str, Any]:
    """Give what the API says that a proxy should run."""
    return {
        "resources": {kind: {name: v for name, v, _ in written(snapshot, kind)} for kind in TYPES},
        "withheld": {},
    }


def test_an_envoy_in_step_differs_in_nothing() -> None:
    """Of every type: versions that Envoy keeps, and those made anew of scopes and endpoints; not the bootstrap's."""
    certified = SERVED.changed({SECRET: [CERTIFICATE]}, {})
    found = held(dump_of(certified))
    assert {kind for kind, _ in found} == set(TYPES)
    assert differences(expected_of(certified), found) == []


def test_what_differs_is_named() -> None:
    """A replica more, another weight, a gateway that is gone: as other version, missing and extra, by type."""
    newer = served(
        gateway(1, pathBasedRouting={}),
        gateway(3),
        deployment(1, staticBackend={"endpoints": [{"address": "127.0.0.1", "port": 1}]}),
    )
    found = differences(expected_of(newer), held(dump_of(SERVED)))
    cluster, other, gone = "deployment/de000000-0000-4000-8000-000000000001", gateway_id(3), gateway_id(2)
    assert [(one.type, one.name, one.kind) for one in found] == [
        ("eds", cluster, Kind.OTHER),
        ("srds", f"host/api.{gone}.gw.example.com", Kind.EXTRA),
        ("srds", f"host/api.{other}.gw.example.com", Kind.MISSING),
        ("rds", ROUTES, Kind.OTHER),
        ("rds", f"gateway/{gone}", Kind.EXTRA),
        ("rds", f"gateway/{other}", Kind.MISSING),
    ]


def test_what_warms_or_was_refused_says_so() -> None:
    """A cluster or listener that only warms is not run yet; where Envoy refused a newer one, it tells why."""
    dump: dict[str, Any] = {
        "configs": [
            {
                "@type": "type.googleapis.com/envoy.admin.v3.ClustersConfigDump",
                "dynamic_warming_clusters": [
                    {"version_info": "2", "cluster": {"name": name}} for name in "ab"
                ],
                "dynamic_active_clusters": [{"version_info": "1", "cluster": {"name": "b"}}],
            },
            {
                "@type": "type.googleapis.com/envoy.admin.v3.ListenersConfigDump",
                "dynamic_listeners": [{"name": "l", "error_state": {"details": "no such filter"}}],
            },
        ]
    }
    expected = {"resources": {"cds": {"a": "2", "b": "2"}, "lds": {"l": "1"}}}
    assert differences(expected, held(dump)) == [
        Difference("cds", "a", Kind.MISSING, "2", "", "Envoy warms it"),
        Difference("cds", "b", Kind.OTHER, "2", "1", "Envoy warms a newer one"),
        Difference("lds", "l", Kind.MISSING, "1", "", "Envoy refused it: no such filter"),
    ]


NAMES = st.dictionaries(st.sampled_from("abcd"), st.sampled_from(["1", "2"]))
VERSIONS = st.dictionaries(st.sampled_from(sorted(TYPES)), NAMES)
WITHHELD = st.dictionaries(st.sampled_from(sorted(TYPES)), st.lists(st.sampled_from("abcd"), unique=True))


@given(VERSIONS, VERSIONS, WITHHELD)
def test_the_differences_are_what_there_is_to_mend(
    should: Mapping[str, Mapping[str, str]],
    runs: Mapping[str, Mapping[str, str]],
    withheld: Mapping[str, list[str]],
) -> None:
    """Whatever a proxy runs: who takes away what is extra, and gives what is missing or other, has what it should.

    What is withheld stays as it is.
    """
    has = {(kind, name): Held(version) for kind, names in runs.items() for name, version in names.items()}
    wanted = {(kind, name): version for kind, names in should.items() for name, version in names.items()}
    found = differences({"resources": should, "withheld": withheld}, has)
    mended = {key: one.version for key, one in has.items()}
    for one in found:
        assert one.runs == mended.pop((one.type, one.name), "")
        if one.should:
            mended[one.type, one.name] = one.should
    spared = {(kind, name) for kind, names in withheld.items() for name in names} - wanted.keys()
    assert {key: version for key, version in mended.items() if key not in spared} == wanted
    named = [(one.type, one.name) for one in found]
    assert (len(named), spared & {*named}) == (len({*named}), set())


def test_contents_differ_line_by_line() -> None:
    """As `diff -u` has it, of YAML; what is on one side alone is shown whole."""
    one = Difference("rds", "r", Kind.OTHER, "v1", "v2")
    assert list(content_difference(one, {"name": "r", "weight": 1}, {"name": "r", "weight": 2})) == [
        "--- rds/r should be v1",
        "+++ rds/r is v2",
        "@@ -1,2 +1,2 @@",
        " name: r",
        "-weight: 1",
        "+weight: 2",
    ]
    missing = Difference("rds", "r", Kind.MISSING, "v1")
    assert list(content_difference(missing, {"name": "r"}, None))[2:] == ["@@ -1 +0,0 @@", "-name: r"]


@contextmanager
def envoy(dump: Mapping[str, Any], node: str = "envoy-1") -> Iterator[str]:
    """Answer as Envoy's admin interface does; give its URL."""
    answers = {
        "/server_info": {"node": {"id": node}},
        "/config_dump?include_eds=": dump,
    }

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path in answers else 404)
            self.end_headers()
            self.wfile.write(json.dumps(answers.get(self.path)).encode())

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture
def api() -> Iterator[ApiServer]:
    """Give an API beside a control plane whose proxies should run what is served."""
    fleet = Fleet()
    fleet.put(1, Connected(Proxy("envoy-1", "z", "1.40.0", 5.0, "delta"), DeltaStream(), SERVED))
    fleet.put(2, Connected(Proxy("whole", "z", "1.40.0", 5.0, "sotw"), SotwStream(), SERVED))
    with api_server(Inspection(fleet, Distributions(Zoning()))) as server:
        yield server


def compared(api: ApiServer, *arguments: str) -> Done:
    """Run `igw diff`."""
    return run("diff", *arguments, IGW_SERVER=api.url, IGW_TOKEN=api.admin, IGW_CONFIG="")


def test_the_command(api: ApiServer) -> None:
    """Exit status 0 for the same, 1 for what differs, as `diff` has it; names, and with -v contents."""
    with envoy(dump_of(SERVED)) as admin:
        same = compared(api, "envoy-1", "--admin", admin)
        assert (same.status, same.lines) == (0, ["envoy-1 runs what it should."])
        as_json = compared(api, "envoy-1", "--admin", admin, "-o", "json")
        assert json.loads(as_json.out) == {"proxy": "envoy-1", "equal": True, "differences": []}
    older = served(gateway(1, pathBasedRouting={}), gateway(2), deployment(1))
    with envoy(dump_of(older)) as admin:
        other = compared(api, "envoy-1", "--admin", admin)
        assert (other.status, other.lines[1].split()[:4]) == (1, ["rds", ROUTES, "other", "version"])
        assert len(other.lines) == 2
        whole = compared(api, "envoy-1", "--admin", admin, "-v")
        assert f"--- rds/{ROUTES} should be {SERVED.of(TYPES['rds'])[ROUTES].version}" in whole.lines
        document = json.loads(compared(api, "envoy-1", "--admin", admin, "-v", "-o", "json").out)
        [one] = document["differences"]
        assert (document["equal"], one["difference"]) == (False, "other version")
        lines = [line.rstrip() for line in one["content"].splitlines()]
        assert lines == whole.lines[-len(lines) :]


def test_what_cannot_be_compared_is_no_difference(api: ApiServer) -> None:
    """The exit status is above 1: another Envoy than is meant, one without versions, one that is not there."""
    with envoy(dump_of(SERVED), node="envoy-2") as admin:
        other = compared(api, "envoy-1", "--admin", admin)
        assert (other.status, "is 'envoy-2', not 'envoy-1': name its --admin" in other.err) == (2, True)
        assert compared(api, "envoy-2", "--admin", admin).status == 3
    whole = compared(api, "whole")
    assert (whole.status, "its dump has no version of each resource" in whole.err) == (2, True)
    assert compared(api, "envoy-1", "--admin", "http://127.0.0.1:1").status == 6
    assert compared(api, "envoy-1", "--admin", api.url).status >= 2
    for wrong in ("127.0.0.1:9901", "http://[::1", "ftp://127.0.0.1"):
        told = compared(api, "envoy-1", "--admin", wrong)
        assert (told.status, "--admin must be an http:// or https:// URL" in told.err) == (2, True)
