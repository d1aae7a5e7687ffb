"""TLS handshakes in memory, and the contexts of others: a client that knows an authority, a server with a pair."""

import ssl
import tempfile

from igw_certs.pair import KeyPair


def _own(context: ssl.SSLContext, pair: KeyPair | None) -> ssl.SSLContext:
    if pair is not None:
        with tempfile.NamedTemporaryFile() as file:
            file.write(pair.chain + pair.key)
            file.flush()
            context.load_cert_chain(file.name)
    return context


def plain_client(authorities: bytes, pair: KeyPair | None = None) -> ssl.SSLContext:
    """Give a client's context, with a pair of its own or without."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=authorities.decode())
    return _own(context, pair)


def plain_server(pair: KeyPair, authorities: bytes | None = None) -> ssl.SSLContext:
    """Give a server's context; with authorities it wants a certificate of its clients."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    if authorities is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(cadata=authorities.decode())
    return _own(context, pair)


class Both:
    """Both ends of a connection in memory."""

    def __init__(self, client: ssl.SSLContext, server: ssl.SSLContext, name: str | None) -> None:
        there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.client = client.wrap_bio(back, there, server_hostname=name)
        self.server = server.wrap_bio(there, back, server_side=True)

    def shake(self) -> None:
        """Shake hands; what either refuses is raised."""
        left = [self.client, self.server]
        for _ in range(10):
            left = [end for end in left if not _done(end)]
            if not left:
                break
        assert not left
        # What the server thinks of the client's certificate a client of TLS 1.3 learns with the first bytes.
        self.server.write(b"x")
        assert self.client.read(1) == b"x"

    def version(self) -> str | None:
        """Give the protocol."""
        return self.client.version()


def _done(end: ssl.SSLObject) -> bool:
    try:
        end.do_handshake()
    except ssl.SSLWantReadError:
        return False
    return True


def handshake(client: ssl.SSLContext, server: ssl.SSLContext, name: str | None = None) -> Both:
    """Connect; raises ssl.SSLError of whichever end refuses."""
    both = Both(client, server, name)
    both.shake()
    return both
