"""Under what a token is known where it may not be kept: hashes that tell nothing of it. Pure.

`digest` needs no secret, so an operator can name a token to us by it (``igw auth revoke``): tokens have too much
randomness to be found from it. `key` needs ours, so what we keep, in memory or in Redis, cannot be compared with
digests that somebody else has.
"""

from hashlib import blake2b, sha256

from igw_model.policy import Provider

SECRET_BYTES = 32
SEAL_BYTES = 16
SHORT = 8


def digest(token: str) -> bytes:
    """Give the SHA-256 digest of a token."""
    return sha256(token.encode()).digest()


def key(provider: Provider, token_digest: bytes, secret: bytes) -> bytes:
    """Give the key of a provider's token, by its digest; `secret` has 16 to 64 random bytes."""
    return blake2b(provider.encode() + b"\0" + token_digest, key=secret, digest_size=32).digest()


def seal(key: bytes, value: bytes, secret: bytes) -> bytes:
    """Give what only who has our secret can: the proof that a value belongs under a token's key."""
    return blake2b(key + value, key=secret, digest_size=SEAL_BYTES, person=b"igw:seal").digest()


def short(key: bytes) -> str:
    """Give what may be logged of a token's key."""
    return key.hex()[:SHORT]
