"""The pair of one folder, shown by a server of ours to anybody: each connection gets what is good of the files then.

For servers whose callers say who they are by other means, as those of the management API do by tokens. Between our own
processes both sides show a certificate: `contexts`.
"""

import ssl
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import structlog

from igw_certs.contexts import ALPN, in_memory
from igw_certs.folder import Watched
from igw_certs.pair import KeyPair

log = structlog.get_logger(__name__)


class NoPairError(Exception):
    """A folder holds no pair that can be shown, or several; the text says which folder and why."""


class Shown:
    """A folder with one pair, followed: broken files leave what was."""

    def __init__(self, folder: Path) -> None:
        """Read it. Raises NoPairError."""
        self._folder, self._watched = folder, Watched(folder)
        self._watched.refresh()
        found = self._watched.state()
        if len(found) != 1:
            raise NoPairError(f"{folder} must hold one certificate with its key, and holds {len(found)}")
        [certificate] = found.values()
        if certificate.pair is None:
            raise NoPairError(f"{folder}: {certificate.trouble}")
        self._pair = certificate.pair
        self._lock = threading.Lock()

    def current(self) -> KeyPair:
        """Give what is good of the files now, in any thread: gRPC asks in its own."""
        with self._lock:
            if self._watched.refresh():
                for certificate in self._watched.state().values():
                    self._pair = certificate.pair or self._pair
                    if certificate.trouble:
                        log.warning("tls_files_bad", reason=certificate.trouble, served="the ones before")
            return self._pair

    def context(self, alpn: Sequence[str] = ALPN) -> ssl.SSLContext:
        """Give a context for servers, TLS 1.2 and above."""
        return _Following.of(self, alpn)


class _Following(ssl.SSLContext):
    """A context that gives each connection to one of the pair as it is then; those under way keep theirs."""

    _shown: Shown
    _pair: KeyPair
    _present: ssl.SSLContext
    _alpn: Sequence[str]

    @classmethod
    def of(cls, shown: Shown, alpn: Sequence[str]) -> Self:
        context = cls(ssl.PROTOCOL_TLS_SERVER)
        context._shown, context._alpn, context._pair = shown, tuple(alpn), shown.current()
        context._present = _filled(context._pair, alpn)
        return context

    def wrap_bio(self, *arguments: Any, **named: Any) -> ssl.SSLObject:
        """As `ssl` says; asyncio and uvloop call it for each connection."""
        pair = self._shown.current()
        if pair is not self._pair:
            self._present, self._pair = _filled(pair, self._alpn), pair
        return self._present.wrap_bio(*arguments, **named)


def _filled(pair: KeyPair, alpn: Sequence[str]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    with in_memory(pair.chain + pair.key) as path:
        context.load_cert_chain(path)
    context.set_alpn_protocols(list(alpn))
    return context
