"""Certificates of the stack: who has which key, who is answered inside and how, and the settings of HTTPS."""

import ssl
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from aioquic.asyncio.client import connect
from aioquic.h3.connection import H3_ALPN
from aioquic.quic.configuration import QuicConfiguration
from cryptography import x509
from igw_certs.authority import Authority

from tests.compose.stack import HTTPS_PORT, Stack, eventually
from tests.compose.test_hardening import ask, said, service
from tests.engine import BUILD_SECONDS

pytestmark = pytest.mark.timeout(BUILD_SECONDS)

OF_ROLES = {
    "xds": {"control-plane"},
    "proxy": {"envoy-1", "envoy-2"},
    "extauth": {"extauth"},
    "extproc": {"extproc"},
    "collector": {"collector"},
    "api": {"demo-setup"},
}
"""Who has the pair of each role, beside the service that issues it."""
FOR_PROXIES = (
    ("control-plane", 18000),
    ("extauth", 18010),
    ("extauth", 18011),
    ("extproc", 18020),
    ("collector", 18030),
)
"""What Envoys ask: no other role is answered."""
WITH_TLS = (*FOR_PROXIES, ("control-plane", 8081), ("control-plane", 8082), ("envoy-1", HTTPS_PORT))
ALERT = 0x15
"""How a record of TLS begins that only says what is wrong."""
HEARD = """
import socket, ssl, sys
host, port, folder = sys.argv[1:]
context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
context.set_alpn_protocols(["h2"])
if folder not in ("clear", "nobody"):
    context.load_cert_chain(f"{folder}/tls.crt", f"{folder}/tls.key")
answer = b""
try:
    with socket.create_connection((host, int(port)), 5) as connection:
        if folder != "clear":
            connection = context.wrap_socket(connection)
        connection.sendall(b"PRI * HTTP/2.0\\r\\n\\r\\nSM\\r\\n\\r\\n" + bytes(3) + b"\\4" + bytes(5))
        answer = connection.recv(1000)
except OSError:
    pass
print(answer.hex())
"""
"""What somebody hears at a port who speaks HTTP/2 there: in clear, without a certificate, or with a folder's pair."""


def heard(stack: Stack, who: str, at: tuple[str, int], folder: str) -> bytes:
    """Say something from inside a container; give what comes back."""
    return bytes.fromhex(said(stack.container(who), ["python3", "-c", HEARD, at[0], str(at[1]), folder]))


@pytest.mark.parametrize("at", WITH_TLS, ids=lambda at: f"{at[0]}:{at[1]}")
def test_nobody_is_answered_in_clear(stack: Stack, at: tuple[str, int]) -> None:
    """Who speaks without TLS from another container is told that, or nothing."""
    answer = heard(stack, "authority", at, "clear")
    assert not answer or answer[0] == ALERT, answer


@pytest.mark.parametrize("at", FOR_PROXIES, ids=lambda at: f"{at[0]}:{at[1]}")
def test_only_a_proxy_is_answered(stack: Stack, at: tuple[str, int]) -> None:
    """Neither without a certificate nor with that of a neighbour; with an Envoy's one is."""
    neighbour = "collector" if at[0] == "extproc" else "extproc"
    assert heard(stack, neighbour, at, "nobody") == b""
    assert heard(stack, neighbour, at, f"/etc/igw/tls/{neighbour}") == b""
    assert heard(stack, "envoy-1", at, "/etc/igw/tls/proxy")


def test_who_has_which_key(stack: Stack) -> None:
    """Each role's pair is in its own containers, to read; the authority's key is in the one that issues, alone."""
    for container in stack.containers(running_only=False):
        named = service(container)
        mounts = {mount.get("Name", ""): mount["RW"] for mount in container.attrs["Mounts"]}
        held = {name.partition("_tls-")[2]: writes for name, writes in mounts.items() if "_tls-" in name}
        issues = named == "certificates"
        assert held == {role: issues for role, services in OF_ROLES.items() if issues or named in services}
        assert (f"{stack.project}_certificates" in mounts) == issues, named
    assert stack.container("certificates").attrs["HostConfig"]["NetworkMode"] == "none"


def test_a_second_look_issues_nothing(stack: Stack) -> None:
    """What is good for a month more is kept when the service starts again, as it is twice a day."""
    serials = {role: serial(stack, role) for role in OF_ROLES}
    container = stack.container("certificates")
    container.restart(timeout=10)
    eventually(lambda: container.exec_run(["test", "-e", "/tmp/issued"]).exit_code == 0, 60)  # noqa: S108 - its own
    assert {role: serial(stack, role) for role in OF_ROLES} == serials


def serial(stack: Stack, role: str) -> int:
    """Give the serial number of a role's certificate."""
    pem = said(stack.container("certificates"), ["cat", f"/etc/igw/tls/{role}/tls.crt"])
    return x509.load_pem_x509_certificate(pem.encode()).serial_number


def test_plain_http_is_closed(stack: Stack) -> None:
    """Unless a setting opens it nothing listens there; from outside, nothing answers."""
    assert ask(stack, "authority", "GET", "http://envoy-1:8080/") == "ConnectionRefusedError"
    with pytest.raises(httpx.TransportError):
        httpx.get(f"http://127.0.0.1:{stack.ports['IGW_PORT']}/")


@pytest.fixture
def own(stack: Stack, tmp_path: Path) -> Iterator[tuple[Stack, Authority]]:
    """The stack with settings of its own, and an authority whose certificate for one host lies in the folder."""
    authority = Authority.kept(tmp_path / "authority")
    pair = authority.issue_server(["by-path.localhost"])
    folder = tmp_path / "certificates" / "live" / "by-path"
    folder.mkdir(parents=True)
    (folder / "fullchain.pem").write_bytes(pair.chain)
    (folder / "privkey.pem").write_bytes(pair.key)
    settings = {
        "IGW_PLAIN_HTTP": "redirect",
        "IGW_HTTP3": "true",
        "IGW_CERTIFICATES": str(tmp_path / "certificates"),
    }
    changed = replace(stack, images={**stack.images, **settings})
    changed.compose("up", "--detach", "--no-deps", "control-plane")
    try:
        yield changed, authority
    finally:
        stack.compose("up", "--detach", "--no-deps", "control-plane")


async def test_settings(own: tuple[Stack, Authority]) -> None:
    """Certificates of one's own come before the local ones; plain HTTP leads to the published port, HTTP/3 is there."""
    stack, authority = own
    port = stack.ports["IGW_HTTPS_PORT"]
    eventually(lambda: redirected(stack) == f"https://by-path.localhost:{port}/v1/models?x=1", 60, stack.logs)
    trusts = {
        "by-path.localhost": ssl.create_default_context(cadata=authority.certificate.decode()),
        "by-header.localhost": stack.trust,
    }
    for host, trust in trusts.items():
        async with httpx.AsyncClient(verify=trust) as client:
            answer = await client.get(
                f"https://127.0.0.1:{port}/demo%2Fsmall/v1/models",
                headers={
                    "Host": host,
                    "Authorization": f"Bearer {stack.token}",
                    "X-Model-Name": "demo/small",
                },
                extensions={"sni_hostname": host},
            )
        assert answer.headers["alt-svc"] == f'h3=":{port}"; ma=86400', answer.text
    over_quic = QuicConfiguration(
        alpn_protocols=H3_ALPN, server_name="by-path.localhost", cadata=authority.certificate
    )
    async with connect("127.0.0.1", port, configuration=over_quic) as client:
        await client.ping()


def redirected(stack: Stack) -> str:
    """Give where a request without TLS is sent; nowhere while nothing answers."""
    try:
        answer = httpx.get(
            f"http://127.0.0.1:{stack.ports['IGW_PORT']}/v1/models?x=1", headers={"Host": "by-path.localhost"}
        )
    except httpx.TransportError:
        return ""
    return str(answer.headers.get("location", ""))
