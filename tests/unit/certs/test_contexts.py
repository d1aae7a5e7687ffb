"""Contexts of our processes: both sides are known, files are followed, and broken ones cost nothing."""

import asyncio
import ssl
from pathlib import Path

import pytest
from igw_certs.authority import Authority
from igw_certs.contexts import BadFilesError, Credentials, ServerTls, peer_identity, server_context
from igw_certs.files import PRIVATE, PUBLIC, place
from igw_certs.identity import TRUST_DOMAIN, Identity, Role
from igw_certs.pair import KeyPair
from structlog.testing import capture_logs

from tests.unit.certs.handshakes import Both, handshake, plain_client
from tests.unit.certs.signing import NOW, signed, write

LOCAL = ("localhost",)


class Scene:
    """An authority, the folders of processes, and a clock."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority = Authority.kept(folder / "ca")
        self.seconds = 0.0

    def files(self, name: str) -> ServerTls:
        """Say where a process's files are."""
        folder = self.folder / name
        return ServerTls(folder / "tls.crt", folder / "tls.key", folder / "ca.crt")

    def issue(
        self,
        name: str,
        role: Role = Role.XDS,
        by: Authority | None = None,
        trusts: bytes = b"",
        days: float = 90,
    ) -> KeyPair:
        """Issue a process's files, anew if there are some."""
        pair = (by or self.authority).issue_identity(Identity(role), days, LOCAL)
        (self.folder / name).mkdir(exist_ok=True)
        place(
            self.folder / name,
            {
                "tls.crt": (pair.chain, PUBLIC),
                "tls.key": (pair.key, PRIVATE),
                "ca.crt": (trusts or self.authority.certificate, PUBLIC),
            },
        )
        return pair

    def credentials(self, name: str, role: Role = Role.XDS) -> Credentials:
        """Issue a process's files and follow them."""
        self.issue(name, role)
        return Credentials(self.files(name), 0.5, lambda: self.seconds)

    def later(self) -> None:
        """Let the time pass until files are looked at again."""
        self.seconds += 0.5


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    """Give a scene of this test's own."""
    return Scene(tmp_path)


def serial(both: Both, by: str = "server") -> str:
    """Give which certificate the server showed, or the client."""
    certificate = (both.client if by == "server" else both.server).getpeercert()
    assert certificate is not None
    return str(certificate["serialNumber"])


def test_both_sides_know_each_other(scene: Scene) -> None:
    """Whoever holds a certificate of the authority gets in, and says who it is by it; HTTP/2 comes first."""
    server, client = scene.credentials("xds"), scene.credentials("proxy", Role.PROXY)
    both = handshake(client.client_context(), server.server_context(), "localhost")
    assert peer_identity(both.server, TRUST_DOMAIN) == Identity(Role.PROXY)
    assert peer_identity(both.client, TRUST_DOMAIN) == Identity(Role.XDS)
    assert peer_identity(both.client, "other.internal") is None
    assert (both.version(), both.server.selected_alpn_protocol()) == ("TLSv1.3", "h2")
    only = handshake(client.client_context(("http/1.1",)), server.server_context(), "localhost")
    assert only.server.selected_alpn_protocol() == "http/1.1"
    assert server.current().identity == Identity(Role.XDS)


def test_nobody_else_gets_in(scene: Scene, tmp_path: Path) -> None:
    """Neither without a certificate, nor with another authority's, nor with one that is its own authority."""
    server = server_context(scene.credentials("xds").tls)
    other = Authority.kept(tmp_path / "other").issue_identity(Identity(Role.PROXY))
    for stranger in (None, other):
        with pytest.raises(ssl.SSLError) as caught:
            handshake(plain_client(scene.authority.certificate, stranger), server, "localhost")
        assert "verify failed" in str(caught.value) or "did not return a certificate" in str(caught.value)
    ours = scene.authority.issue_identity(Identity(Role.PROXY))
    handshake(plain_client(scene.authority.certificate, ours), server, "localhost")


def test_the_client_wants_the_server_that_it_means(scene: Scene, tmp_path: Path) -> None:
    """The server's name must be in its certificate, and the authority must be ours."""
    server, client = scene.credentials("xds"), scene.credentials("api", Role.API)
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        handshake(client.client_context(), server.server_context(), "other.host")
    scene.issue("stranger", by=Authority.kept(tmp_path / "other"), trusts=scene.authority.certificate)
    stranger = Credentials(scene.files("stranger")).server_context()
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(client.client_context(), stranger, "localhost")


def test_old_protocols_are_refused(scene: Scene) -> None:
    """TLS 1.3 alone: a session of 1.2 lets a client in again whose certificate has ended."""
    server, client = scene.credentials("xds"), scene.credentials("proxy", Role.PROXY)
    for context in (server.server_context(), client.client_context(), client.call_context()):
        assert context.minimum_version is ssl.TLSVersion.TLSv1_3
    old = plain_client(scene.authority.certificate, client.current().pair)
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(ssl.SSLError):
        handshake(old, server.server_context(), "localhost")


def test_a_renewed_certificate_is_shown_to_new_connections(scene: Scene) -> None:
    """On both sides, and no sooner than files are looked at again."""
    server, client = scene.credentials("xds"), scene.credentials("proxy", Role.PROXY)
    ours, theirs = server.server_context(), client.client_context()
    first = serial(handshake(theirs, ours, "localhost"))
    scene.issue("xds")
    assert serial(handshake(theirs, ours, "localhost")) == first
    scene.later()
    with capture_logs() as logs:
        second = serial(handshake(theirs, ours, "localhost"))
        assert serial(handshake(theirs, ours, "localhost")) == second
    assert second != first
    assert [(line["event"], line["log_level"]) for line in logs] == [("tls_files_renewed", "info")]
    former = serial(handshake(theirs, ours, "localhost"), by="client")
    scene.issue("proxy", Role.PROXY)
    scene.later()
    assert serial(handshake(theirs, ours, "localhost"), by="client") != former


def test_a_change_of_authority(scene: Scene, tmp_path: Path) -> None:
    """First both are trusted, then others' certificates change, then the old one goes: nobody is ever refused."""
    server, client = scene.credentials("xds"), scene.credentials("proxy", Role.PROXY)
    ours, theirs = server.server_context(), client.client_context()
    old, new = scene.authority, Authority.kept(tmp_path / "new")
    both = old.certificate + new.certificate
    steps = [("xds", old, both), ("proxy", old, both), ("xds", new, both), ("proxy", new, both)]
    steps += [("xds", new, new.certificate), ("proxy", new, new.certificate)]
    for name, by, trusts in steps:
        scene.issue(name, Role(name), by, trusts)
        scene.later()
        handshake(theirs, ours, "localhost")
    with pytest.raises(ssl.SSLError):
        handshake(plain_client(new.certificate, old.issue_identity(Identity(Role.PROXY))), ours, "localhost")


def counted(credentials: Credentials) -> dict[str, float]:
    """Give the counts of reloads by outcome."""
    families = {family.name: family for family in credentials.collect()}
    return {sample.labels["outcome"]: sample.value for sample in families["igw_tls_reloads"].samples}


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"tls.key": signed().secret}, "the key is not that of the first certificate"),
        ({"tls.crt": b""}, "there is no certificate in PEM, or one that cannot be read"),
        ({"ca.crt": b""}, "ca.crt: there is no certificate in PEM, or one that cannot be read"),
        (
            {"tls.crt": (one := signed("localhost")).chain, "tls.key": one.secret},
            "says of nobody who it is: it must have one URI, spiffe://igw.internal/igw/ROLE[/zone/ZONE]",
        ),
    ],
)
def test_broken_files_cost_nothing(scene: Scene, files: dict[str, bytes], said: str) -> None:
    """What was is served; it is logged and counted once, and a good renewal ends it. At the start they are an error."""
    server, client = scene.credentials("xds"), scene.credentials("proxy", Role.PROXY)
    ours, theirs = server.server_context(), client.client_context()
    first = serial(handshake(theirs, ours, "localhost"))
    write(scene.folder / "xds", files)
    with capture_logs() as logs:
        for _ in range(4):
            scene.later()
            assert serial(handshake(theirs, ours, "localhost")) == first
    assert [line["event"] for line in logs] == ["tls_files_bad"]
    assert said in logs[0]["reason"]
    assert counted(server) == {"kept": 1, "renewed": 0}
    with pytest.raises(BadFilesError) as caught:
        Credentials(scene.files("xds"))
    assert said in str(caught.value)
    assert str(scene.folder / "xds") in str(caught.value)
    scene.issue("xds")
    scene.later()
    assert serial(handshake(theirs, ours, "localhost")) != first
    assert counted(server) == {"kept": 1, "renewed": 1}


ENDED = -1 / 1440


@pytest.mark.parametrize(
    ("role", "days", "said"),
    [
        (Role.EXTAUTH, 90, "tls.crt is of the role extauth: the one before was of xds"),
        (Role.XDS, ENDED, "tls.crt ended on "),
    ],
)
def test_a_pair_that_peers_would_refuse_costs_nothing(
    scene: Scene, role: Role, days: float, said: str
) -> None:
    """As broken files do: what was is served, and it is logged and counted once."""
    server = scene.credentials("xds")
    first = server.current()
    scene.issue("xds", role, days=days)
    with capture_logs() as logs:
        for _ in range(4):
            scene.later()
            assert server.current() is first
    assert [line["event"] for line in logs] == ["tls_files_bad"]
    assert said in logs[0]["reason"]
    assert counted(server) == {"kept": 1, "renewed": 0}


def test_of_two_that_have_ended_the_newer_one_is_taken(scene: Scene) -> None:
    """Nothing is lost by it, and the process says what lies there."""
    scene.issue("xds", days=ENDED)
    server = Credentials(scene.files("xds"), 0)
    second = scene.issue("xds", days=ENDED)
    assert server.current().pair == second


def test_files_that_are_just_being_replaced_are_no_trouble(scene: Scene) -> None:
    """Between two looks the new certificate stands beside the old key."""
    server = scene.credentials("xds")
    pair = scene.authority.issue_identity(Identity(Role.XDS))
    write(scene.folder / "xds", {"tls.crt": pair.chain})
    with capture_logs() as logs:
        scene.later()
        server.current()
        write(scene.folder / "xds", {"tls.key": pair.key})
        scene.later()
        assert server.current().pair == pair
    assert [line["event"] for line in logs] == ["tls_files_renewed"]


def test_files_that_are_gone_are_an_error_at_the_start(scene: Scene) -> None:
    """Each by its name."""
    scene.issue("xds")
    for name in ("tls.crt", "tls.key", "ca.crt"):
        path = scene.folder / "xds" / name
        aside = path.rename(path.with_suffix(".aside"))
        with pytest.raises(BadFilesError, match=f"{name} is missing"):
            Credentials(scene.files("xds"))
        aside.rename(path)
    Credentials(scene.files("xds"))


def test_when_it_ends_is_a_metric(scene: Scene) -> None:
    """In Unix time, of what is served now: also where nobody has connected since it was renewed."""
    server = scene.credentials("xds")

    def told() -> float:
        (family,) = [one for one in server.collect() if one.name == "igw_tls_not_after_seconds"]
        return float(family.samples[0].value)

    assert told() == server.current().pair.not_after.timestamp() > NOW.timestamp()
    pair = scene.authority.issue_identity(Identity(Role.XDS), days=30)
    write(scene.folder / "xds", {"tls.crt": pair.chain, "tls.key": pair.key})
    scene.later()
    assert told() == pair.not_after.timestamp()


def test_no_key_shows(scene: Scene) -> None:
    """In what these values print."""
    pair = scene.issue("xds")
    credentials = Credentials(scene.files("xds"))
    body = pair.key.splitlines()[1].decode()
    assert body not in repr(credentials.current()) + repr(credentials) + repr(vars(credentials))


async def test_open_connections_outlive_a_renewal(scene: Scene) -> None:
    """Over asyncio and a real socket: the one that is open goes on, a new one is shown the new certificate."""
    credentials = scene.credentials("xds")
    ours, theirs = credentials.server_context(), scene.credentials("proxy", Role.PROXY).client_context()

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            writer.write(line)
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0, ssl=ours)
    port = server.sockets[0].getsockname()[1]

    async def connect() -> tuple[asyncio.StreamReader, asyncio.StreamWriter, str]:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", port, ssl=theirs, server_hostname="localhost"
        )
        certificate = writer.get_extra_info("ssl_object").getpeercert()
        return reader, writer, certificate["serialNumber"]

    async with server:
        old_reader, old_writer, old = await connect()
        scene.issue("xds")
        scene.later()
        new_reader, new_writer, new = await connect()
        assert old != new
        for reader, writer in ((old_reader, old_writer), (new_reader, new_writer)):
            writer.write(b"still here\n")
            assert await asyncio.wait_for(reader.readline(), 10) == b"still here\n"
            writer.close()
