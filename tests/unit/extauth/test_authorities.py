"""What authorities' answers mean, over real HTTP: no failure of one tells a caller that a key is bad."""

import asyncio
import datetime as dt
import ipaddress
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import h2.config
import h2.connection
import h2.events
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from igw_extauth.authority.authorities import CoreWeave, Wandb, authority_client
from igw_extauth.identity import Identity, Known, Principal, Unavailable, Unknown
from igw_extauth.secret import BearerToken

from tests.unit.extauth.authority import FakeAuthority, Mode, Person

ANN = BearerToken("CW-SECRET-ann")
BOB = BearerToken("CW-SECRET-bob")
KEY = BearerToken("k" * 40)
KNOWN_ANN = Known(Principal("ann", frozenset({"org-1"})))


async def whoami(authority: FakeAuthority, *tokens: BearerToken, again: bool = False) -> list[Identity]:
    """Ask CoreWeave of tokens, one after the other."""
    async with authority_client(2) as client:
        coreweave = CoreWeave(client, f"{authority.url}/whoami")
        return [await coreweave.ask(token, lambda: again) for token in tokens]


async def viewer(authority: FakeAuthority) -> Identity:
    """Ask W&B of the key."""
    async with authority_client(2) as client:
        return await Wandb(client, f"{authority.url}/graphql").ask(KEY, lambda: False)


@pytest.mark.parametrize(
    ("mode", "identity"),
    [
        (Mode.TRUE, KNOWN_ANN),
        (Mode.MISSING, Unavailable("status 404")),
        (Mode.FAILING, Unavailable("status 500")),
        (Mode.BUSY, Unavailable("status 503")),
        (Mode.THROTTLING, Unavailable("status 429")),
        (Mode.EMPTY, Unavailable("status 204")),
        (Mode.REDIRECTING, Unavailable("status 307")),
        (Mode.RUBBISH, Unavailable("answer not understood")),
        (Mode.NAMELESS, Unavailable("answer not understood")),
        (Mode.DEEP, Unavailable("answer not understood")),
        (Mode.BOMB, Unavailable("answer not understood")),
        (Mode.HUGE, Unavailable("answer too large")),
        (Mode.HANGING_UP, Unavailable("status 500")),
    ],
)
async def test_what_an_answer_means(authority: FakeAuthority, mode: Mode, identity: Identity) -> None:
    """Only the authority's own yes is a yes, and its own no a no; redirects are not followed, nothing is unpacked."""
    authority.people[ANN.reveal()] = Person("ann", "org-1")
    authority.mode = mode
    assert await whoami(authority, ANN) == [identity]
    assert (authority.elsewhere, authority.encodings) == (0, {"identity"})


async def test_a_token_nobody_has_is_unknown(authority: FakeAuthority) -> None:
    """401 is an answer."""
    assert await whoami(authority, BOB) == [Unknown()]


@pytest.mark.parametrize(
    ("mode", "identity"),
    [
        (Mode.TRUE, Known(Principal("ann", frozenset({"team", "ann-org"}), "ann-org"))),
        (Mode.ERRING, Unavailable("answer with errors")),
        (Mode.PARTIAL, Unavailable("answer with errors")),
        (Mode.RUBBISH, Unavailable("answer not understood")),
    ],
)
async def test_what_a_graphql_answer_means(authority: FakeAuthority, mode: Mode, identity: Identity) -> None:
    """Data with errors is partial: a team may be missing, which is no reason to refuse its members."""
    authority.people[KEY.reveal()] = Person("ann", "ann-org", ("team",))
    authority.mode = mode
    assert await viewer(authority) == identity


async def test_a_null_viewer_is_nobody(authority: FakeAuthority) -> None:
    """W&B answers 200 to a key that it does not know."""
    assert await viewer(authority) == Unknown()


async def test_a_passing_failure_is_tried_once_more(authority: FakeAuthority) -> None:
    """503 and then an answer is an answer; twice 503 is none; nor is there a second try when there may be none."""
    authority.people[ANN.reveal()] = Person("ann", "org-1")
    authority.once = [Mode.BUSY]
    assert await whoami(authority, ANN, again=True) == [KNOWN_ANN]
    authority.once = [Mode.BUSY, Mode.BUSY]
    assert await whoami(authority, ANN, again=True) == [Unavailable("status 503")]
    authority.once = [Mode.BUSY]
    assert await whoami(authority, ANN, again=False) == [Unavailable("status 503")]
    assert authority.calls[ANN.reveal()] == 5


@pytest.mark.parametrize("mode", [Mode.FAILING, Mode.THROTTLING, Mode.RUBBISH])
async def test_what_will_not_pass_is_not_tried_again(authority: FakeAuthority, mode: Mode) -> None:
    """An authority that says it is broken, or that it is asked too much, is not asked twice."""
    authority.mode = mode
    await whoami(authority, ANN, again=True)
    assert authority.calls[ANN.reveal()] == 1


async def test_a_connection_that_was_cut_is_made_anew() -> None:
    """An idle connection that the authority closed costs no caller an answer."""
    good = b'{"principal":{"uid":"ann","orgUid":"org-1"}}'
    answers = iter([b"", b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(good), good)])

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(next(answers))
        writer.close()

    async with _listening(talk) as port, authority_client(2) as client:
        coreweave = CoreWeave(client, f"http://127.0.0.1:{port}/whoami")
        assert await coreweave.ask(ANN, lambda: True) == KNOWN_ANN


async def test_nobody_listens() -> None:
    """An authority that cannot be reached is an outage, not a bad token."""
    async with authority_client(2) as client:
        coreweave = CoreWeave(client, "http://127.0.0.1:1/whoami")
        assert await coreweave.ask(ANN, lambda: True) == Unavailable("no answer: ConnectError")


async def test_one_callers_session_does_not_speak_for_another(authority: FakeAuthority) -> None:
    """A cookie that the authority sets for one token is not sent with the next."""
    authority.people[ANN.reveal()] = Person("ann", "org-1")
    assert await whoami(authority, ANN, BOB) == [KNOWN_ANN, Unknown()]
    assert authority.cookies == []


async def test_http2_where_it_is_offered_and_tls_always_verified(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An authority with a certificate that is trusted is asked over HTTP/2; one without is not asked at all."""
    certificate = _certificate(tmp_path)
    offered = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    offered.load_cert_chain(certificate)
    offered.set_alpn_protocols(["h2", "http/1.1"])
    async with _listening(_talk_http2, offered) as port:
        url = f"https://127.0.0.1:{port}/whoami"
        async with authority_client(2) as client:
            assert await CoreWeave(client, url).ask(ANN, lambda: True) == Unavailable(
                "no answer: ConnectError"
            )
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        async with authority_client(2) as client:
            assert await CoreWeave(client, url).ask(ANN, lambda: True) == KNOWN_ANN


async def _talk_http2(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer as whoami, over HTTP/2 alone."""
    connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
    connection.initiate_connection()
    writer.write(connection.data_to_send())
    while data := await reader.read(65536):
        for event in connection.receive_data(data):
            if isinstance(event, h2.events.StreamEnded):
                connection.send_headers(event.stream_id, [(":status", "200")])
                body = b'{"principal":{"uid":"ann","orgUid":"org-1"}}'
                connection.send_data(event.stream_id, body, end_stream=True)
        writer.write(connection.data_to_send())
    writer.close()


@asynccontextmanager
async def _listening(
    talk: Callable[[asyncio.StreamReader, asyncio.StreamWriter], object], tls: ssl.SSLContext | None = None
) -> AsyncIterator[int]:
    server = await asyncio.start_server(talk, "127.0.0.1", 0, ssl=tls)  # type: ignore[arg-type]
    async with server:
        yield server.sockets[0].getsockname()[1]


def _certificate(folder: Path) -> Path:
    """Write a key and a certificate for 127.0.0.1 that speaks for itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "authority")])
    now = dt.datetime.now(dt.UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now - dt.timedelta(days=1))
    builder = builder.not_valid_after(now + dt.timedelta(days=1))
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    signed = builder.add_extension(address, critical=False).sign(key, hashes.SHA256())
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path = folder / "authority.pem"
    path.write_bytes(private + signed.public_bytes(serialization.Encoding.PEM))
    return path
