"""Who may connect, over real connections, on both loops; what is counted and logged of the others."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import structlog
import uvloop
from igw_certs.authority import Authority
from igw_certs.contexts import Credentials, ServerTls
from igw_certs.identity import Identity, Role
from igw_certs.pair import KeyPair
from igw_certs.peers import Peers, Reason
from igw_ops import accepting
from igw_ops.guard import certificate_of
from igw_ops.listening import listening_socket

LOOPS = [asyncio.new_event_loop, uvloop.new_event_loop]
ANSWER = b"hello"
Client = ssl.SSLContext


class Taker(asyncio.Protocol):
    """Answers whoever gets to it, and keeps what it is told."""

    def __init__(self, made: "list[Taker]") -> None:
        made.append(self)
        self.paused = asyncio.Event()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.certificate = certificate_of(transport)

    def data_received(self, data: bytes) -> None:
        if data == b"?":
            self.transport.write(ANSWER)
        for _ in range(0 if data == b"?" else 500):
            self.transport.write(b"x" * 65536)

    def pause_writing(self) -> None:
        self.paused.set()


class Scene:
    """A server for proxies, and who comes to it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.now = 0.0
        self.authority = Authority.kept(folder / "ours", "gw.test")
        self.other = Authority.kept(folder / "theirs", "gw.test")
        self.tls = ServerTls(folder / "crt", folder / "key", folder / "ca", "gw.test")
        self.tls.ca.write_bytes(self.authority.certificate)
        self.put(self.authority.issue_identity(Identity(Role.EXTPROC)))
        self.peers = Peers(Credentials(self.tls, 0), [Role.PROXY], clock=lambda: self.now)
        self.made: list[Taker] = []
        self.port = 0

    def put(self, pair: KeyPair) -> None:
        self.tls.cert.write_bytes(pair.chain)
        self.tls.key.write_bytes(bytes(pair.key))

    def client(self, pair: KeyPair | None) -> Client:
        """Give a client that shows this."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.load_verify_locations(cadata=self.authority.certificate.decode())
        if pair is not None:
            (self.folder / "client").write_bytes(pair.chain + bytes(pair.key))
            context.load_cert_chain(self.folder / "client")
        return context

    def proxy(self) -> Client:
        return self.client(self.authority.issue_identity(Identity(Role.PROXY, "east")))

    async def ask(self, client: Client, ask: bytes = b"?") -> bytes:
        """Give what is answered; nothing where the server hangs up."""
        with contextlib.suppress(OSError):
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port, ssl=client)
            with contextlib.closing(writer):
                writer.write(ask)
                return await asyncio.wait_for(reader.read(100), 5)
        return b""

    def refused(self) -> dict[str, float]:
        """Give how many were refused, by reason."""
        [family] = self.peers.collect()
        return {s.labels["reason"]: s.value for s in family.samples if s.name.endswith("_total") and s.value}

    def counted(self, reason: Reason, number: float) -> bool:
        """Say whether so many were refused for a reason."""
        return self.refused().get(reason, 0) == number

    def play(
        self, loop_factory: Callable[[], asyncio.AbstractEventLoop], acts: Callable[[], Awaitable[None]]
    ) -> None:
        """Run acts beside the server."""

        async def run() -> None:
            with listening_socket("a test", "127.0.0.1", 0) as listening:
                self.port = listening.getsockname()[1]
                server = await accepting.accepting(listening, lambda: Taker(self.made), guard=self.peers)
                try:
                    async with asyncio.timeout(20):
                        await acts()
                finally:
                    server.close()
                    for taker in self.made:
                        taker.transport.abort()
                    await asyncio.sleep(0)

        with asyncio.Runner(loop_factory=loop_factory) as runner:
            runner.run(run())


@pytest.fixture(name="scene")
def _scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


@pytest.fixture(name="logged")
def _logged() -> Iterator[list[Any]]:
    with structlog.testing.capture_logs() as logs:
        yield logs


async def eventually(condition: Callable[[], bool]) -> None:
    """Wait until a condition holds; the scene has an end."""
    while not condition():  # noqa: ASYNC110 - nobody tells of it
        await asyncio.sleep(0.01)


both_loops = pytest.mark.parametrize("loop_factory", LOOPS, ids=["asyncio", "uvloop"])


@both_loops
def test_a_proxy_is_let_in(scene: Scene, loop_factory: Any) -> None:
    """The server's own protocol has the connection from then on, and knows the certificate."""

    async def acts() -> None:
        assert await scene.ask(scene.proxy()) == ANSWER
        [taker] = scene.made
        assert scene.peers.identity(taker.certificate) == Identity(Role.PROXY, "east")
        assert scene.refused() == {}

    scene.play(loop_factory, acts)


@both_loops
def test_others_do_not_get_to_the_server(scene: Scene, loop_factory: Any, logged: list[Any]) -> None:
    """Each is counted by its reason, and the server's protocol is never made."""

    async def acts() -> None:
        ours, theirs = scene.authority, scene.other
        for pair, reason in (
            (None, Reason.NO_CERTIFICATE),
            (theirs.issue_identity(Identity(Role.PROXY)), Reason.OTHER_AUTHORITY),
            (ours.issue_identity(Identity(Role.PROXY), days=-1 / 1440), Reason.OTHER_AUTHORITY),
            (ours.issue_identity(Identity(Role.EXTAUTH)), Reason.WRONG_ROLE),
            (ours.issue_server(["proxy.test"]), Reason.OTHER_AUTHORITY),  # it is for servers alone
        ):
            before = scene.refused().get(reason, 0)
            assert await scene.ask(scene.client(pair)) == b""
            await eventually(partial(scene.counted, reason, before + 1))
        assert scene.made == []

    scene.play(loop_factory, acts)
    assert scene.refused() == {"no_certificate": 1, "other_authority": 3, "wrong_role": 1}
    details = {line["reason"]: line["detail"] for line in logged if line["event"] == "client refused"}
    assert details["no_certificate"] == "peer did not return a certificate"
    assert details["wrong_role"] == "its certificate is of the role extauth"


@both_loops
def test_who_does_not_speak_tls(scene: Scene, loop_factory: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Words in clear and a handshake that takes too long are refused; a probe that only knocks is nobody."""
    monkeypatch.setattr(accepting, "HANDSHAKE_SECONDS", 0.3)

    async def acts() -> None:
        for said in (b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02"):
            with socket.create_connection(("127.0.0.1", scene.port)) as client:
                client.setblocking(False)
                loop = asyncio.get_running_loop()
                await loop.sock_sendall(client, said)
                with contextlib.suppress(ConnectionError):
                    while await loop.sock_recv(client, 100):
                        pass
        await eventually(lambda: scene.refused().get("handshake", 0) == 2)
        socket.create_connection(("127.0.0.1", scene.port)).close()
        assert await scene.ask(scene.proxy()) == ANSWER

    scene.play(loop_factory, acts)
    assert scene.refused() == {"handshake": 2}


@both_loops
def test_who_is_cut_short_for_others(
    scene: Scene, loop_factory: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where no more handshakes may go on, one that has had its time is refused, and the next client let in."""
    monkeypatch.setattr(accepting, "MAX_BEGINNING", 1)
    monkeypatch.setattr(accepting, "PATIENCE_SECONDS", 0.1)

    async def acts() -> None:
        with socket.create_connection(("127.0.0.1", scene.port)):
            assert await scene.ask(scene.proxy()) == ANSWER
        assert scene.refused() == {"handshake": 1}

    scene.play(loop_factory, acts)


@both_loops
def test_the_server_hears_of_a_client_that_does_not_read(scene: Scene, loop_factory: Any) -> None:
    """Flow control goes to the server's protocol, not to the one that judged."""

    async def acts() -> None:
        _, writer = await asyncio.open_connection("127.0.0.1", scene.port, ssl=scene.proxy(), limit=1)
        with contextlib.closing(writer):
            writer.write(b"much")
            await eventually(lambda: bool(scene.made))
            await scene.made[0].paused.wait()

    scene.play(loop_factory, acts)


@both_loops
def test_a_renewed_certificate_is_shown(scene: Scene, loop_factory: Any) -> None:
    """To the next connection; and no session goes on in another connection with the certificate before."""

    async def acts() -> None:
        client = scene.proxy()
        first = await _shown(scene.port, client)
        scene.put(scene.authority.issue_identity(Identity(Role.EXTPROC)))
        second = await _shown(scene.port, client)
        assert first[0] != second[0]
        assert not first[1]

    scene.play(loop_factory, acts)


async def _shown(port: int, client: Client) -> tuple[bytes, bool]:
    """Give the server's certificate, and whether it gave a ticket for later."""

    def handshake() -> tuple[bytes, bool]:
        with socket.create_connection(("127.0.0.1", port)) as plain, client.wrap_socket(plain) as secured:
            secured.sendall(b"?")
            assert secured.recv(100) == ANSWER
            session = secured.session
            return secured.getpeercert(binary_form=True) or b"", session is not None and session.has_ticket

    return await asyncio.to_thread(handshake)


def test_it_is_logged_once_a_second_for_each_reason(scene: Scene, logged: list[Any]) -> None:
    """All are counted; the next line says how many were not."""
    for now, reason in ((0.0, Reason.NO_CERTIFICATE), (0.5, Reason.NO_CERTIFICATE), (0.9, Reason.WRONG_ZONE)):
        scene.now = now
        scene.peers.refused(reason, "10.0.0.1:5", "")
    scene.now = 1.1
    scene.peers.refused(Reason.NO_CERTIFICATE, "10.0.0.1:6", "")
    lines = [(line["reason"], line["refused_unsaid"]) for line in logged if line["event"] == "client refused"]
    assert lines == [("no_certificate", 0), ("wrong_zone", 0), ("no_certificate", 1)]
    assert scene.refused() == {"no_certificate": 3, "wrong_zone": 1}


def test_each_reason_has_a_count_from_the_start(scene: Scene) -> None:
    """The first refusal is an increase that an alert sees."""
    [family] = scene.peers.collect()
    assert {sample.labels["reason"] for sample in family.samples} == set(Reason)
