"""The way to a control plane over TLS: to whom it leads, with which certificate, and what is told where it does not."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from igw_agent.tunnel import Tunnel
from igw_certs.authority import Authority
from igw_certs.contexts import Credentials, ServerTls, peer_identity
from igw_certs.identity import Identity, Role

pytestmark = pytest.mark.asyncio
DOMAIN = "gw.test"


class Party:
    """One end: files of its certificate."""

    def __init__(self, folder: Path, authority: Authority, identity: Identity) -> None:
        folder.mkdir()
        self.tls = ServerTls(folder / "crt", folder / "key", folder / "ca", DOMAIN)
        self.tls.ca.write_bytes(authority.certificate)
        self.put(authority, identity)
        self.credentials = Credentials(self.tls, 0)

    def put(self, authority: Authority, identity: Identity) -> None:
        """Renew its certificate."""
        pair = authority.issue_identity(identity)
        self.tls.cert.write_bytes(pair.chain)
        self.tls.key.write_bytes(bytes(pair.key))


@pytest.fixture(name="authority")
def _authority(tmp_path: Path) -> Authority:
    return Authority.kept(tmp_path / "authority", DOMAIN)


@pytest.fixture(name="proxy")
def _proxy(tmp_path: Path, authority: Authority) -> Party:
    return Party(tmp_path / "proxy", authority, Identity(Role.PROXY, "east"))


@contextlib.asynccontextmanager
async def server(party: Party) -> AsyncIterator[tuple[int, list[Any]]]:
    """Echo what comes over TLS; give the port, and who came."""
    came: list[Any] = []

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        secured = writer.get_extra_info("ssl_object")
        came.append((peer_identity(secured, DOMAIN), secured.getpeercert()["serialNumber"]))
        with contextlib.suppress(OSError), contextlib.closing(writer):
            while data := await reader.read(100_000):
                writer.write(data)
                await writer.drain()

    context: ssl.SSLContext = party.credentials.server_context(("h2",))
    listening = await asyncio.start_server(echo, "127.0.0.1", 0, ssl=context)
    async with listening:
        yield listening.sockets[0].getsockname()[1], came


async def passed(path: Path, data: bytes) -> bytes:
    """Give what comes back of some bytes; nothing where the tunnel hangs up."""
    async with asyncio.timeout(10):
        reader, writer = await asyncio.open_unix_connection(str(path))
        with contextlib.closing(writer), contextlib.suppress(OSError, asyncio.IncompleteReadError):
            writer.write(data)
            return await reader.readexactly(len(data))
    return b""


async def test_bytes_pass_both_ways(tmp_path: Path, authority: Authority, proxy: Party) -> None:
    """However many; the control plane knows by the certificate who asks, a renewed one the next time."""
    xds = Party(tmp_path / "xds", authority, Identity(Role.XDS))
    data = bytes(range(256)) * 20_000
    async with server(xds) as (port, came), Tunnel(proxy.credentials, "localhost", port).at(tmp_path / "t"):
        assert await passed(tmp_path / "t", data) == data
        proxy.put(authority, Identity(Role.PROXY, "east"))
        assert await passed(tmp_path / "t", b"again") == b"again"
    assert [identity for identity, _ in came] == [Identity(Role.PROXY, "east")] * 2
    assert came[0] != came[1]


@pytest.mark.parametrize("who", ["other-role", "other-authority", "nobody"])
async def test_it_leads_to_a_control_plane_alone(
    tmp_path: Path, authority: Authority, proxy: Party, who: str
) -> None:
    """Another service of the same authority, a control plane of another, a closed port: nothing is sent, once told."""
    theirs = Authority.kept(tmp_path / "theirs", DOMAIN)
    party = {
        "other-role": lambda: Party(tmp_path / "x", authority, Identity(Role.EXTAUTH)),
        "other-authority": lambda: Party(tmp_path / "x", theirs, Identity(Role.XDS)),
    }.get(who, lambda: Party(tmp_path / "x", authority, Identity(Role.XDS)))()
    with structlog.testing.capture_logs() as logs:
        async with server(party) as (port, _):
            at = 1 if who == "nobody" else port
            async with Tunnel(proxy.credentials, "127.0.0.1", at).at(tmp_path / "t"):
                assert await passed(tmp_path / "t", b"secret") == b""
                assert await passed(tmp_path / "t", b"secret") == b""
    assert [line["event"] for line in logs] == ["no connection to the control plane over TLS"]


async def test_a_proxy_that_is_refused(tmp_path: Path, authority: Authority, proxy: Party) -> None:
    """The control plane hangs up behind the handshake: that is told too."""
    theirs = Authority.kept(tmp_path / "theirs", DOMAIN)
    xds = Party(tmp_path / "xds", authority, Identity(Role.XDS))
    xds.tls.ca.write_bytes(theirs.certificate)
    with structlog.testing.capture_logs() as logs:
        async with server(xds) as (port, _), Tunnel(proxy.credentials, "127.0.0.1", port).at(tmp_path / "t"):
            assert await passed(tmp_path / "t", b"hello") == b""
    told = [line["reason"] for line in logs if line["event"] == "no connection to the control plane over TLS"]
    assert len(told) == 1
