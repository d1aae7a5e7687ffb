"""The pair of one folder, shown by a server of ours to anybody: each connection gets what is good of the files then.

For servers whose callers say who they are by other means, as those of the management API do by tokens. Between our own
processes both sides show a certificate: `contexts`.
"""

import ssl
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import structlog

from igw_certs.contexts import ALPN, Following, show
from igw_certs.folder import Certificate, Watched
from igw_certs.pair import KeyPair

log = structlog.get_logger(__name__)


class NoPairError(Exception):
    """A folder holds no pair that can be shown, or several; the text says which folder and why."""


class Shown:
    """A folder with one pair, followed: broken files leave what was, and pairs that come beside it are not read."""

    def __init__(self, folder: Path, seconds: float = 0.5) -> None:
        """Read it, and look again at most every `seconds`. Raises NoPairError."""
        self._watched = Watched(folder, seconds)
        self._watched.refresh()
        found = self._watched.state()
        if len(found) != 1:
            raise NoPairError(f"{folder} must hold one certificate with its key, and holds {len(found)}")
        [certificate] = found.values()
        if certificate.pair is None:
            raise NoPairError(f"{folder}: {certificate.trouble}")
        self._pair, self._certificate = certificate.pair, certificate
        self._watched.keep_to(certificate.name)
        self._lock = threading.Lock()

    def current(self) -> KeyPair:
        """Give what is good of the files now, in any thread: gRPC asks in its own."""
        with self._lock:
            if self._watched.refresh():
                [certificate] = self._watched.state().values()
                self._pair, self._certificate = certificate.pair or self._pair, certificate
                if certificate.trouble:
                    log.warning("tls_files_bad", reason=certificate.trouble, served="the ones before")
            return self._pair

    def certificate(self) -> Certificate:
        """Give what is shown now, and what is wrong with the files."""
        pair = self.current()
        return replace(self._certificate, pair=pair)

    def context(self, alpn: Sequence[str] = ALPN) -> ssl.SSLContext:
        """Give a context for servers, TLS 1.2 and above."""

        def fill(context: ssl.SSLContext, pair: KeyPair) -> None:
            context.minimum_version = ssl.TLSVersion.TLSv1_2
            show(context, pair, alpn)

        return Following.of(ssl.PROTOCOL_TLS_SERVER, self.current, fill)
