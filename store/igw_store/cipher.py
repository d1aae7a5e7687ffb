"""Keys of gateways at rest: a key and a gateway's id in, ciphertext out, and back. Fernet (AES-128-CBC, HMAC).

The gateway's id is sealed in, so that ciphertext moved to another row is refused. The key comes from a
setting, or from a file that only its owner may read and that is made at the first start.
"""

import json
import os
import secrets
import stat
from pathlib import Path

from cryptography.fernet import Fernet, InvalidToken
from pydantic import SecretStr


class CipherError(Exception):
    """A key that cannot be used, or that does not fit what it should open; says which file or setting."""


class Cipher:
    """One key, and where it came from."""

    __slots__ = ("_fernet", "source")

    def __init__(self, key: SecretStr, source: str) -> None:
        """Take 32 bytes in URL-safe base64; `source` names the file or setting. Raises CipherError."""
        self.source = source
        try:
            self._fernet = Fernet(key.get_secret_value().strip())
        except ValueError:
            raise CipherError(f"{source} holds no key: it must be 32 bytes in URL-safe base64") from None

    def __repr__(self) -> str:
        return f"Cipher(source={self.source!r})"

    @classmethod
    def ephemeral(cls) -> "Cipher":
        """Give a key that nobody keeps, for a store in memory."""
        return cls(SecretStr(Fernet.generate_key().decode()), "a key in memory")

    @classmethod
    def from_file(cls, path: Path) -> "Cipher":
        """Read the key of a file, after making it if there is none. Raises CipherError."""
        try:
            if not path.exists():
                _make(path)
            if stat.S_IMODE(path.stat().st_mode) & 0o077:
                raise CipherError(f"{path} may be read by others than its owner: chmod 600 {path}")
            return cls(SecretStr(path.read_text(encoding="ascii")), str(path))
        except (OSError, UnicodeDecodeError) as error:
            raise CipherError(f"{path} cannot be read or made: {error}") from None

    def seal(self, gateway_id: str, key: SecretStr) -> bytes:
        """Encrypt the key of one gateway."""
        return self._fernet.encrypt(json.dumps([gateway_id, key.get_secret_value()]).encode())

    def unseal(self, gateway_id: str, sealed: bytes) -> SecretStr:
        """Decrypt the key of one gateway. Raises CipherError."""
        try:
            owner, key = json.loads(self._fernet.decrypt(sealed))
        except InvalidToken:
            raise CipherError(
                f"the key in {self.source} is not the one that the store's secrets were encrypted with"
            ) from None
        if owner != gateway_id:
            raise CipherError(f"the apiKey kept for gateway {gateway_id} is that of gateway {owner}")
        return SecretStr(key)


def _make(path: Path) -> None:
    """Put a new key in place at once; of two processes that do, one wins and both read the same."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(Fernet.generate_key() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        os.link(draft, path)
    except FileExistsError:
        pass
    finally:
        draft.unlink(missing_ok=True)
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Make a new name durable: secrets on disk are nothing without their key."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
