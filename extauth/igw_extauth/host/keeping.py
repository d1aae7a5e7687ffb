"""The keeper of a host: identities and limits behind one object, and the secret that keys the hashes of tokens."""

import contextlib
import os
import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from igw_model.policy import Provider

from igw_extauth import hashing
from igw_extauth.identities.kept import Identities, identities
from igw_extauth.identities.revocations import all_keys
from igw_extauth.keeper import Admission, Event, Vouched
from igw_extauth.limits.counting import Limits, limits
from igw_extauth.secret import BearerToken
from igw_extauth.settings import Settings


class SecretFileError(OSError):
    """The file of the secret cannot be used; the text says which and why, and holds nothing of it."""


class LocalKeeper:
    """Keeps identities and counts in this process (`igw_extauth.keeper.Keeper`)."""

    def __init__(self, identities: Identities, limits: Limits, secret: bytes) -> None:
        self._identities = identities
        self._limits = limits
        self.secret = secret
        """Keys the hashes of tokens; for the workers of this host."""

    async def identify(self, provider: Provider, key: bytes, token: BearerToken) -> Vouched:
        """Give a token's identity."""
        return await self._identities.identify(provider, key, token)

    async def admit(self, project: str) -> Admission:
        """Take a slot for a request of a project."""
        return await self._limits.admit(project)

    def report(self, events: Sequence[Event]) -> None:
        """Take what became of requests."""
        self._limits.report(events)

    async def revoke(self, digest: bytes) -> frozenset[bytes]:
        """Revoke the token with a SHA-256 digest; give the keys that workers are to forget."""
        await self._identities.revoke(digest)
        return all_keys(self.secret)(digest)

    def on_revoked(self, forget: Callable[[frozenset[bytes]], None]) -> None:
        """Have `forget` called with the keys of tokens that are revoked, here or on another host."""
        self._identities.on_revoked(forget)


@asynccontextmanager
async def keeping(settings: Settings) -> AsyncIterator[LocalKeeper]:
    """Give the keeper. Raises SecretFileError."""
    secret = secret_of(settings.secret_file)
    async with identities(settings, secret) as known, limits(settings) as counted:
        yield LocalKeeper(known, counted, secret)


def secret_of(path: Path | None) -> bytes:
    """Give the secret in a file, which is made where it is missing; a new one where there is no file to be.

    All who start at once on one file get the same. Raises SecretFileError.
    """
    if path is None:
        return secrets.token_bytes(hashing.SECRET_BYTES)
    try:
        if not path.exists():
            _make(path)
        text = path.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise SecretFileError(f"{path} cannot be read or made: {getattr(error, 'strerror', None)}") from None
    with contextlib.suppress(ValueError):
        secret = bytes.fromhex(text)
        if len(secret) == hashing.SECRET_BYTES:
            return secret
    raise SecretFileError(f"{path} must hold {hashing.SECRET_BYTES} bytes in hex and nothing else")


def _make(path: Path) -> None:
    """Put a new secret in place, whole, unless another process was first."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(secrets.token_hex(hashing.SECRET_BYTES))
        with contextlib.suppress(FileExistsError):
            os.link(draft, path)
    finally:
        draft.unlink(missing_ok=True)
