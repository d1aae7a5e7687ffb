"""HTTPS for clients: which certificate is shown, what becomes of renewed and broken ones, and which TLS is spoken."""

import asyncio
import json
import shlex
import socket
import ssl
import subprocess
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from aioquic.asyncio.client import connect
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.h3.connection import H3_ALPN, H3Connection
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import QuicEvent
from aioquic.quic.logger import QuicLogger
from aioquic.tls import SessionTicket
from cryptography import x509
from igw_certs.authority import Authority
from igw_certs.pair import KeyPair

from tests.pairs import CERTBOT, write_pair
from tests.ports import free_ports
from tests.real_envoy.launched import launched
from tests.real_envoy.running import Running, chat, eventually, igw_up

RENEWED_SECONDS = 2.0
MANY = 100
MOMENT_DAYS = 0.5 / 86400


@dataclass(frozen=True)
class Edge:
    """A gateway that serves HTTPS with the certificates of a folder, and who signs them."""

    gateway: Running
    folder: Path
    authority: Authority

    @property
    def port(self) -> int:
        return urlsplit(self.gateway.ready["https"]).port or 0

    def write(self, name: str, pair: KeyPair) -> int:
        return write_pair(self.folder / name, pair, CERTBOT)

    def issue(self, *names: str, days: float = 90) -> KeyPair:
        return self.authority.issue_server(names, days=days)

    def shown(self, host: str) -> x509.Certificate:
        """Give the certificate that a client which asks for a host name is shown."""
        return shown(self.port, host)

    def condition(self, gateway: str) -> Mapping[str, Any]:
        """Give what the API says of a gateway's certificates."""
        conditions = self.status(gateway).get("conditions", [])
        return next((one for one in conditions if one["type"] == "CertificateReady"), {})

    def status(self, gateway: str) -> Mapping[str, Any]:
        """Give what the API says of a gateway."""
        api, token = self.gateway.ready["api"], Path(self.gateway.ready["adminTokenFile"]).read_text().strip()
        found = httpx.get(
            f"{api}/v1alpha1/inference/gateways", headers={"Authorization": f"Bearer {token}"}
        ).json()
        [wanted] = [each for each in found["items"] if each["spec"]["name"] == gateway]
        status: Mapping[str, Any] = wanted["status"]
        return status


def shown(port: int, host: str | None) -> x509.Certificate:
    """Shake hands without any trust, and give the server's certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with (
        socket.create_connection(("127.0.0.1", port), 5) as plain,
        context.wrap_socket(plain, server_hostname=host) as over,
    ):
        return x509.load_der_x509_certificate(over.getpeercert(binary_form=True) or b"")


def names(certificate: x509.Certificate) -> list[str]:
    """Give the host names of a certificate."""
    found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return found.get_values_for_type(x509.DNSName)


def trust(authority: bytes) -> ssl.SSLContext:
    """Give a client's side that trusts one authority, as a careful client has it."""
    return ssl.create_default_context(cadata=authority.decode())


def ask(edge: Edge, name: str, context: ssl.SSLContext, host: str | None = None) -> httpx.Response:
    """Ask a gateway over HTTPS, its certificate verified for the host name."""
    host = host or edge.gateway.host(name)
    with httpx.Client(verify=context, timeout=10) as client:
        return client.post(
            f"https://127.0.0.1:{edge.port}/v1/chat/completions",
            json=chat(),
            headers={**edge.gateway.headers(name), "Host": host},
            extensions={"sni_hostname": host},
        )


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    """A demo gateway with two certificates in a folder: one for a gateway's own name, one for a wildcard."""
    top = tmp_path_factory.mktemp("https")
    authority, folder = Authority.kept(top / "authority"), top / "certificates"
    write_pair(folder / "live" / "wild", authority.issue_server(("*.wild.example",)), CERTBOT)
    with igw_up(
        top / "up", "--demo", "--certificates", str(folder), "--http3", "--plain-http", "off"
    ) as gateway:
        edge = Edge(gateway, folder, authority)
        edge.write("live/exact", edge.issue(gateway.host("chat")))
        eventually(lambda: names(edge.shown(gateway.host("chat"))) == [gateway.host("chat")], 10)
        yield edge


def test_which_certificate_is_shown(edge: Edge) -> None:
    """By the name that the client asks for: its own, a wildcard's, else that of the local authority."""
    chat_host, other = edge.gateway.host("chat"), edge.gateway.host("by-header")
    assert names(edge.shown(chat_host)) == [chat_host]
    assert names(edge.shown(chat_host.upper())) == [chat_host]
    assert names(edge.shown("any.wild.example")) == ["*.wild.example"]
    assert other in names(edge.shown(other))
    assert chat_host not in names(edge.shown(other))


def test_a_request_whose_certificate_is_verified(edge: Edge) -> None:
    """Of the folder's, and of the local authority's that the ready file names."""
    assert ask(edge, "chat", trust(edge.authority.certificate)).status_code == 200
    local = trust(Path(edge.gateway.ready["authority"]).read_bytes())
    assert ask(edge, "by-path", local).status_code in {200, 404}
    with pytest.raises(httpx.ConnectError, match="verify failed"):
        ask(edge, "chat", local)


def test_the_line_that_is_printed(edge: Edge) -> None:
    """`igw up` prints a curl line that works as it is, verified against the local authority."""
    host = edge.gateway.host("chat")
    lines = edge.gateway.output().splitlines()
    [line] = [line.strip() for line in lines if "--cacert" in line and f"//{host}" in line]
    # The folder has a certificate of another authority for this gateway, so its own is trusted here.
    command = shlex.split(line)
    trusted = edge.folder / "ca.crt"
    trusted.write_bytes(edge.authority.certificate)
    assert Path(command[command.index("--cacert") + 1]).is_file()
    command[command.index("--cacert") + 1] = str(trusted)
    answer = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
    assert '"chat.completion"' in answer.stdout


@pytest.mark.parametrize("protocol", ["h2", "http/1.1"])
def test_protocols(edge: Edge, protocol: str) -> None:
    """A client gets the protocol that it offers."""
    context = trust(edge.authority.certificate)
    context.set_alpn_protocols([protocol])
    host = edge.gateway.host("chat")
    with (
        socket.create_connection(("127.0.0.1", edge.port), 5) as plain,
        context.wrap_socket(plain, server_hostname=host) as over,
    ):
        assert over.selected_alpn_protocol() == protocol
    command = [
        "curl",
        "-sS",
        "--http2" if protocol == "h2" else "--http1.1",
        "-w",
        "%{http_version}",
        "-o",
        "/dev/null",
    ]
    command += ["--cacert", str(_trusted(edge)), "--resolve", f"{host}:{edge.port}:127.0.0.1"]
    command += ["-H", f"Authorization: Bearer {edge.gateway.token}", f"https://{host}:{edge.port}/v1/models"]
    spoken = subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout
    assert spoken == ("2" if protocol == "h2" else "1.1")


def _trusted(edge: Edge) -> Path:
    path = edge.folder / "trusted.crt"
    path.write_bytes(edge.authority.certificate)
    return path


async def test_http3(edge: Edge) -> None:
    """A client is told of it by `alt-svc`, and gets the same over QUIC."""
    host = edge.gateway.host("chat")
    told = ask(edge, "chat", trust(edge.authority.certificate))
    assert told.headers["alt-svc"] == f'h3=":{edge.port}"; ma=86400'
    configuration = QuicConfiguration(alpn_protocols=H3_ALPN, server_name=host)
    configuration.load_verify_locations(cadata=edge.authority.certificate)
    configuration.quic_logger = log = QuicLogger()
    tickets: list[SessionTicket] = []
    headers = {"authorization": f"Bearer {edge.gateway.token}", "content-type": "application/json"}
    async with connect(
        "127.0.0.1",
        edge.port,
        configuration=configuration,
        create_protocol=Http3Client,
        session_ticket_handler=tickets.append,
    ) as client:
        assert isinstance(client, Http3Client)
        status, body = await client.post(host, "/v1/chat/completions", headers, json.dumps(chat()).encode())
        assert (status, json.loads(body)["object"]) == ("200", "chat.completion")
        refused, _ = await client.post(host, "/v1/chat/completions", {}, b"{}")
        assert refused == "401"
    # A request in early data could be sent again by whoever saw it.
    assert tickets
    assert [ticket.max_early_data_size for ticket in tickets if ticket.max_early_data_size] == []
    [bounds] = [
        event["data"]
        for event in log.to_dict()["traces"][0]["events"]
        if event["name"] == "transport:parameters_set" and event["data"]["owner"] == "remote"
    ]
    assert bounds["initial_max_streams_bidi"] == 100
    assert bounds["initial_max_stream_data_bidi_remote"] == 1024 * 1024
    assert bounds["initial_max_data"] == 4 * 1024 * 1024
    assert bounds["max_idle_timeout"] == 300_000


class Http3Client(QuicConnectionProtocol):
    """The least that asks over HTTP/3."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._http = H3Connection(self._quic)
        self._status, self._body = dict[int, str](), dict[int, bytes]()
        self._ended = dict[int, asyncio.Future[None]]()

    def quic_event_received(self, event: QuicEvent) -> None:
        """Take what came."""
        for told in self._http.handle_event(event):
            if isinstance(told, HeadersReceived):
                self._status.setdefault(told.stream_id, dict(told.headers).get(b":status", b"").decode())
            if isinstance(told, DataReceived):
                self._body[told.stream_id] = self._body.get(told.stream_id, b"") + told.data
            if isinstance(told, HeadersReceived | DataReceived) and told.stream_ended:
                self._ended[told.stream_id].set_result(None)

    async def post(self, host: str, path: str, headers: Mapping[str, str], body: bytes) -> tuple[str, bytes]:
        """Send a request; give the answer's status and body."""
        stream = self._quic.get_next_available_stream_id()
        self._ended[stream] = asyncio.get_running_loop().create_future()
        said = {":method": "POST", ":scheme": "https", ":authority": host, ":path": path, **headers}
        self._http.send_headers(stream, [(name.encode(), value.encode()) for name, value in said.items()])
        self._http.send_data(stream, body, end_stream=True)
        self.transmit()
        async with asyncio.timeout(10):
            await self._ended[stream]
        return self._status[stream], self._body.get(stream, b"")


@pytest.mark.filterwarnings("ignore:.*TLSv1_1 is deprecated")
@pytest.mark.parametrize(
    ("version", "welcome"),
    [(ssl.TLSVersion.TLSv1_1, False), (ssl.TLSVersion.TLSv1_2, True), (ssl.TLSVersion.TLSv1_3, True)],
)
def test_versions(edge: Edge, version: ssl.TLSVersion, welcome: bool) -> None:  # noqa: FBT001 - a case
    """Nothing older than TLS 1.2."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = version
    with socket.create_connection(("127.0.0.1", edge.port), 5) as plain:
        if welcome:
            with context.wrap_socket(plain, server_hostname="x") as over:
                assert over.version() == {771: "TLSv1.2", 772: "TLSv1.3"}[version]
        else:
            with pytest.raises(ssl.SSLError, match=r"(?i)protocol"):
                context.wrap_socket(plain, server_hostname="x")


@pytest.mark.alone
def test_a_renewed_certificate_under_load(edge: Edge) -> None:
    """It is shown within two seconds, to new connections and to them alone, and no request fails for it."""
    host, context = edge.gateway.host("chat"), trust(edge.authority.certificate)
    took = asyncio.run(_renew_under_load(edge, host, context))
    assert max(took) < RENEWED_SECONDS, took


async def _renew_under_load(edge: Edge, host: str, context: ssl.SSLContext) -> list[float]:
    statuses, took, stop = Counter[int](), list[float](), asyncio.Event()
    url, headers = f"https://127.0.0.1:{edge.port}/v1/models", edge.gateway.headers("chat")

    async def client(*, keeps: bool) -> None:
        limits = httpx.Limits(max_keepalive_connections=None if keeps else 0)
        async with httpx.AsyncClient(verify=context, limits=limits, timeout=10) as asking:
            while not stop.is_set():
                answer = await asking.get(url, headers=headers, extensions={"sni_hostname": host})
                statuses[answer.status_code] += 1

    async with asyncio.TaskGroup() as tasks:
        for keeps in (True, True, False, False):
            tasks.create_task(client(keeps=keeps))
        try:
            for _ in range(3):
                pair, began = edge.issue(host), time.monotonic()
                serial = edge.write("live/exact", pair)
                async with asyncio.timeout(10):
                    while (await asyncio.to_thread(edge.shown, host)).serial_number != serial:
                        pass
                took.append(time.monotonic() - began)
            await asyncio.to_thread(eventually, lambda: statuses[200] > MANY, 30)
        finally:
            stop.set()
    assert set(statuses) == {200}, statuses
    return took


def test_a_broken_renewal(edge: Edge) -> None:
    """A key that does not belong to the certificate: the pair from before is shown, and the gateway says so."""
    host = edge.gateway.host("chat")
    before = edge.shown(host).serial_number
    (edge.folder / "live" / "exact" / "privkey.pem").write_bytes(edge.issue(host).key)
    eventually(lambda: edge.condition("chat").get("reason") == "Broken", 10)
    told = edge.condition("chat")
    assert (told["status"], "exact" in told["message"]) == ("STATUS_FALSE", True), told
    assert edge.shown(host).serial_number == before
    assert ask(edge, "chat", trust(edge.authority.certificate)).status_code == 200
    metrics = httpx.get(f"http://127.0.0.1:{edge.gateway.option('xds', '--ops-port')}/metrics").text
    assert 'igw_certificate_broken{certificate="exact"} 1.0' in metrics
    edge.write("live/exact", edge.issue(host))
    eventually(lambda: edge.condition("chat").get("reason") == "Valid", 10)


def test_an_expired_certificate(edge: Edge) -> None:
    """It is shown, as there is no other; clients refuse it, and the gateway, the metrics and the log say so."""
    host = edge.gateway.host("by-path")
    edge.write("live/old", edge.issue(host, days=MOMENT_DAYS))
    eventually(lambda: names(edge.shown(host)) == [host], 10)
    over = edge.shown(host).not_valid_after_utc.timestamp() + 1
    eventually(lambda: time.time() > over)
    with pytest.raises(httpx.ConnectError, match="expired"):
        ask(edge, "by-path", trust(edge.authority.certificate))
    eventually(lambda: edge.condition("by-path").get("reason") == "Expired", 10)
    metrics = httpx.get(f"http://127.0.0.1:{edge.gateway.option('xds', '--ops-port')}/metrics").text
    [line] = [
        line
        for line in metrics.splitlines()
        if line.startswith('igw_certificate_not_after_seconds{certificate="old"}')
    ]
    assert float(line.rpartition(" ")[2]) < time.time()
    assert "a certificate needs care" in edge.gateway.log()


def test_no_key_is_shown(edge: Edge) -> None:
    """Neither by the control plane nor by Envoy, and it stands in no log."""
    key = "".join((edge.folder / "live" / "wild" / "privkey.pem").read_text().split()[3:5])[:40]
    assert len(key) == 40
    ready = edge.gateway.ready
    ops = f"http://127.0.0.1:{edge.gateway.option('xds', '--ops-port')}"
    token = Path(ready["adminTokenFile"]).read_text().strip()
    told = [
        edge.gateway.log(),
        httpx.get(f"{ops}/status").text,
        httpx.get(f"{ready['envoyAdmin']}/config_dump").text,
        httpx.get(
            f"{ready['api']}/v1alpha1/inference/proxies/local/resources",
            headers={"Authorization": f"Bearer {token}"},
        ).text,
    ]
    assert all(len(text) > 100 for text in told)
    assert "certificate/wild" in told[2]
    assert not any(key in text.replace("\\n", "") for text in told)


def test_nothing_is_served_without_tls(edge: Edge) -> None:
    """With `--plain-http off` nobody listens for it, and clients are told of HTTPS alone."""
    with pytest.raises(httpx.ConnectError):
        httpx.get(edge.gateway.ready["ingress"])
    assert f"https://{edge.gateway.host('chat')}:{edge.port}" in edge.status("chat")["endpoints"]


def test_plain_requests_are_sent_to_https(gateway: Running, tmp_path: Path) -> None:
    """With `--plain-http redirect` they are told where clients find HTTPS, wherever Envoy listens, and nothing else."""
    with launched(gateway, tmp_path / "redirect") as envoy:
        [secure] = free_ports(1)
        https = {"https": f"127.0.0.1:{secure}", "local-authority": str(tmp_path / "authority")}
        asked = f"http://127.0.0.1:{envoy.port}/v1/models?x=1"
        headers = {**gateway.headers("chat"), "Host": f"{gateway.host('chat')}:{envoy.port}"}
        envoy.control_plane.kill()
        envoy.control_plane.start(**https, **{"plain-http": "redirect", "endpoint-port": "9443"})
        envoy.start()
        told = httpx.get(asked, headers=headers)
        where = f"https://{gateway.host('chat')}"
        assert (told.status_code, told.headers["location"]) == (308, f"{where}:9443/v1/models?x=1")
        refused = httpx.get(f"http://127.0.0.1:{envoy.port}/a/%00", headers=headers)
        assert (refused.status_code, refused.json()["error"]["code"]) == (400, "bad_request")
        with pytest.raises(httpx.ConnectError, match="verify failed"):
            httpx.get(f"https://127.0.0.1:{secure}/v1/models")
