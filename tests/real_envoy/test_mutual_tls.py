"""Mutual TLS between Envoy and the services, as separate processes: who may, who may not, renewal."""

import http.client
import json
import ssl
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import grpc
import httpx
import pytest
from envoy.service.status.v3.csds_pb2 import ClientStatusResponse
from igw_certs.authority import Authority
from igw_certs.identity import Identity, Role
from igw_certs.pair import KeyPair
from igw_xds import csds

from tests.real_envoy.counting import Way, counted
from tests.real_envoy.running import AS_FORM, TRANSCRIPTIONS, Running, chat, eventually, form
from tests.real_envoy.secured import (
    LOOPBACK,
    SERVICES,
    ZONE,
    Process,
    Secured,
    said,
    secured,
    shown,
    stranger,
)

JSON = {"Content-Type": "application/json"}
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes.fromhex("000000040000000000")
CHECK = b"GET /v1/models HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
CLUSTERS = ("igw-extauth", "igw-extauth-log", "igw-extproc", "igw-usage")


@pytest.fixture(scope="module")
def gateway_with_tls(gateway: Running, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    """All processes with TLS; the last tests change them, in their order."""
    with secured(gateway, tmp_path_factory.mktemp("tls")) as running:
        yield running


def ask(running: Secured) -> int:
    """Ask for a chat completion; give the status."""
    return running.post(json.dumps(chat()).encode(), JSON).status_code


def test_requests_are_served(gateway_with_tls: Secured) -> None:
    """A check, a form that extproc reads, and the usage log: each over TLS with both ends known."""
    running = gateway_with_tls
    assert ask(running) == 200
    assert running.post(form(), AS_FORM, TRANSCRIPTIONS).status_code == 200
    assert running.post(form("demo/none"), AS_FORM, TRANSCRIPTIONS).status_code == 404
    collector, extproc = running.services[Role.COLLECTOR], running.services[Role.EXTPROC]
    eventually(lambda: collector.metric("igw_usage_records_total", outcome="counted") >= 2)
    assert extproc.metric("igw_extproc_exchanges_total", outcome="routed") >= 2
    handshakes = running.proxy.stats(r"^cluster\.igw-[a-z-]+\.ssl\.handshake$")
    assert all(handshakes[f"cluster.{name}.ssl.handshake"] > 0 for name in CLUSTERS)


def test_services_are_found_healthy(gateway_with_tls: Secured) -> None:
    """Envoy's health checks speak TLS too, and the services answer them."""
    running = gateway_with_tls
    eventually(lambda: all(checked(running, "success").get(name, 0) > 0 for name in CLUSTERS))
    # One that takes over a second for once is no matter: a certificate that is wrong fails them all.
    eventually(lambda: all_found_healthy(running), 60)


def all_found_healthy(running: Secured) -> bool:
    """Tell whether for a while each is asked, and none fails."""
    good, bad = checked(running, "success"), checked(running, "failure")
    eventually(lambda: all(checked(running, "success")[name] > good[name] + 1 for name in CLUSTERS), 60)
    return checked(running, "failure") == bad


def checked(running: Secured, how: str) -> dict[str, int]:
    """Give how many health checks ended so, by cluster."""
    found = running.proxy.stats(rf"^cluster\.igw-[a-z-]+\.health_check\.{how}$")
    return {name.split(".")[1]: count for name, count in found.items()}


def test_the_control_plane_knows_a_proxy_by_its_certificate(gateway_with_tls: Secured) -> None:
    """It is served its zone, and says so to operators; nobody was refused on the way."""
    running = gateway_with_tls
    assert proxies(running) == {"good": (ZONE, True)}
    pair = running.certificates.authority.issue_identity(Identity(Role.PROXY, ZONE))
    envoy = stranger(running, "says-no-zone", "", pair)
    eventually(lambda: proxies(running).get("says-no-zone") == (ZONE.lower(), True))
    envoy.process.kill()
    eventually(lambda: len(proxies(running)) == 1)


@pytest.mark.parametrize("role", [Role.API, Role.PROXY])
def test_what_proxies_have_is_told_to_operators_alone(gateway_with_tls: Secured, role: Role) -> None:
    """By a standard tool, over TLS; a proxy would learn of other zones."""
    running = gateway_with_tls
    pair = running.certificates.authority.issue_identity(Identity(role, ZONE))
    credentials = grpc.ssl_channel_credentials(
        running.certificates.authority.certificate, bytes(pair.key), pair.chain
    )
    with grpc.secure_channel(f"localhost:{running.ports['xds']}", credentials) as channel:
        fetch = channel.unary_unary(next(method for method, once in csds.METHODS.items() if once))
        if role is Role.API:
            told = ClientStatusResponse.FromString(fetch(b"", timeout=10))
            assert [client.node.id for client in told.config] == ["good"]
        else:
            with pytest.raises(grpc.RpcError) as refused:
                fetch(b"", timeout=10)
            assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED


def proxies(running: Secured) -> dict[str, tuple[str, bool]]:
    """Give the proxies that the control plane tells of: their zones, and whether they are in step."""
    found = httpx.get(f"http://{LOOPBACK}:{running.services[Role.XDS].ops}/status").json()["proxies"]
    return {proxy["id"]: (proxy["zone"], proxy["synced"]) for proxy in found}


@pytest.mark.parametrize(
    ("node", "reason"),
    [
        ("no-certificate", "no_certificate"),
        ("other-authority", "other_authority"),
        ("other-role", "wrong_role"),
        ("other-zone", "wrong_zone"),
        ("no-zone", "wrong_zone"),
    ],
)
def test_a_proxy_that_is_none_of_ours_gets_nothing(
    gateway_with_tls: Secured, tmp_path: Path, node: str, reason: str
) -> None:
    """The attempt is logged and counted, and no resource reaches it; a proxy's own word for its zone is nothing."""
    running = gateway_with_tls
    process = running.services[Role.XDS]
    before = process.refused(reason)
    envoy = stranger(running, node, ZONE, pair_of(node, running.certificates.authority, tmp_path))
    eventually(lambda: process.refused(reason) >= before + 2)  # it comes again
    eventually(lambda: envoy.stats("^control_plane.connected_state$") == {"control_plane.connected_state": 0})
    updates = envoy.stats(r"^(cluster_manager\.cds|listener_manager\.lds)\.update_success$")
    assert updates == {"cluster_manager.cds.update_success": 0, "listener_manager.lds.update_success": 0}
    envoy.process.kill()
    lines = [json.loads(line) for line in process.log().splitlines() if '"client refused"' in line]
    assert reason in {line["reason"] for line in lines}
    assert node not in proxies(running)


def pair_of(node: str, authority: Authority, folder: Path) -> KeyPair | None:
    """Give the certificate that a stranger comes with."""
    match node:
        case "no-certificate":
            return None
        case "other-authority":
            other = Authority.kept(folder / "other", authority.trust_domain)
            return other.issue_identity(Identity(Role.PROXY, ZONE))
        case "other-role":
            return authority.issue_identity(Identity(Role.EXTAUTH, ZONE))
        case "other-zone":
            return authority.issue_identity(Identity(Role.PROXY, "elsewhere"))
        case _:
            return authority.issue_identity(Identity(Role.PROXY))


@pytest.mark.parametrize(
    ("name", "role", "request_bytes"),
    [
        ("extauth", Role.EXTAUTH, CHECK),
        ("extauth", Role.EXTAUTH, PREFACE),
        ("extauth-grpc", Role.EXTAUTH, PREFACE),
        ("extproc", Role.EXTPROC, PREFACE),
        ("collector", Role.COLLECTOR, PREFACE),
    ],
)
def test_services_answer_proxies_alone(
    gateway_with_tls: Secured, tmp_path: Path, name: str, role: Role, request_bytes: bytes
) -> None:
    """A proxy is answered on the port; without a certificate, with another authority's, as another service: nothing."""
    running = gateway_with_tls
    port, process, certificates = running.ports[name], running.services[role], running.certificates
    other = Authority.kept(tmp_path / "other", certificates.authority.trust_domain)
    certificates.put("stranger", other.issue_identity(Identity(Role.PROXY, ZONE)))
    assert said(port, certificates.context("proxy"), request_bytes)
    for shows, reason in ((None, "no_certificate"), ("stranger", "other_authority"), ("xds", "wrong_role")):
        before = process.refused(reason)
        assert said(port, certificates.context(shows), request_bytes) == b""
        eventually(partial(refused_once_more, process, reason, before))


def refused_once_more(process: Process, reason: str, before: int) -> bool:
    """Say whether one more client was refused."""
    return process.refused(reason) == before + 1


def test_nobody_speaks_in_clear(gateway_with_tls: Secured) -> None:
    """A request without TLS is answered by nothing."""
    connection = http.client.HTTPConnection(LOOPBACK, gateway_with_tls.ports["extauth"], timeout=5)
    connection.request("GET", "/v1/models")
    with pytest.raises((http.client.HTTPException, ConnectionError)):
        connection.getresponse()


def test_certificates_and_their_authority_are_replaced_under_load(
    gateway_with_tls: Secured, tmp_path: Path
) -> None:
    """No request fails; each process shows what it was given last, and who starts later meets the others as well."""
    running, certificates = gateway_with_tls, gateway_with_tls.certificates
    first = certificates.authority
    second = Authority.kept(tmp_path / "second", first.trust_domain)
    trust = ssl.create_default_context(cafile=running.hosts / "ca.crt")
    with counted(ways(running), [running.proxy], trust) as count:
        renew(running)
        trusted(running, first, second)
        certificates.authority = second
        renew(running)
        trusted(running, second)
        served = count.served.total()
        eventually(lambda: count.served.total() > served + 100)
    assert not count.failures, count.failures[:3]
    running.again(Role.EXTPROC)
    running.again(Role.XDS)
    eventually(lambda: running.post(form(), AS_FORM, TRANSCRIPTIONS).status_code == 200)
    eventually(lambda: proxies(running) == {"good": (ZONE, True)})


def ways(running: Secured) -> list[Way]:
    """Give a request of each kind: the model in a body, in a form, in a header, in the path."""
    body, chats = json.dumps(chat()).encode(), "/v1/chat/completions"
    headers = running.demo.headers
    return [
        Way(chats, headers("chat", **JSON), body),
        Way(TRANSCRIPTIONS, headers("chat", **AS_FORM), form()),
        Way(chats, headers("by-header", **JSON, **{"X-Model-Name": "demo/small"}), body),
        Way(f"/demo%2Fsmall{chats}", headers("by-path", **JSON), body),
    ]


def renew(running: Secured) -> None:
    """Give everybody another certificate, and wait until each shows its own and they meet."""
    certificates = running.certificates
    for role in SERVICES:
        certificates.give(role, Identity(role))
    certificates.give("proxy", Identity(Role.PROXY, ZONE))
    for name, role in [
        ("extauth", Role.EXTAUTH),
        ("extauth-grpc", Role.EXTAUTH),
        *((r, r) for r in SERVICES[1:]),
    ]:
        eventually(partial(meets, running, name, certificates.serial(role)))
    eventually(lambda: certificates.serial("proxy") in running.proxy.serials())


def trusted(running: Secured, *authorities: Authority) -> None:
    """Have everybody trust these, and wait until Envoy does; services look when somebody comes."""
    for name in (*SERVICES, "proxy"):
        running.certificates.trust(name, *authorities)
    eventually(lambda: running.proxy.trusts() == {len(authorities)})


def test_checks_over_grpc_and_a_service_in_anothers_place(gateway_with_tls: Secured) -> None:
    """Checks come to extauth over gRPC, in one process; the collector in extproc's place is told no body."""
    running, at = (
        gateway_with_tls,
        {name: f"{LOOPBACK}:{port}" for name, port in gateway_with_tls.ports.items()},
    )
    running.again(Role.EXTAUTH, workers="1")
    running.again(Role.XDS, extauth=at["extauth-grpc"], extproc=at["collector"], auth_transport="grpc")
    eventually(lambda: proxies(running) == {"good": (ZONE, True)})
    assert ask(running) == 200
    extauth = running.services[Role.EXTAUTH]
    assert extauth.metric("igw_extauth_checks_total", provider="coreweave", outcome="allowed") > 0
    assert running.post(form(), AS_FORM, TRANSCRIPTIONS).status_code >= 500
    name = "cluster.igw-extproc.ssl.fail_verify_san"
    assert running.proxy.stats(f"^{name}$")[name] > 0


def meets(running: Secured, name: str, serial: int) -> bool:
    """Say whether a port shows the certificate of this number, by whom Envoy trusts now, and answers to Envoy's."""
    client, port = running.certificates.context("proxy"), running.ports[name]
    client.verify_mode = ssl.CERT_REQUIRED
    client.load_verify_locations(running.certificates.folder / "proxy.ca")
    try:
        return shown(port, client) == serial and said(port, client, PREFACE) != b""
    except OSError:
        return False
