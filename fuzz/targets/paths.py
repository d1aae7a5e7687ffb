"""Model names in paths: a route's expression takes every legal spelling of its model, and nothing else.

The first line is a model's name, the second a path's segment as a client may send it.
"""

import random
import re
import zlib
from collections.abc import Iterator
from urllib.parse import quote, unquote_to_bytes

from igw_model.text import _model_name
from igw_usage.record import MAX_NAME, _name, operation
from igw_xds.resources.routes import encodings

WATCHED = ("igw_xds", "igw_model", "igw_usage")
MAX_BYTES = 512
_UNRESERVED = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_PLAIN = _UNRESERVED | frozenset(b"!$&'()*+,;=:@")
"""What a segment may hold that is not encoded (RFC 3986, 3.3)."""


def check(data: bytes) -> None:
    """Match a name's expression against spellings of it, and against any segment."""
    first, _, segment = data.partition(b"\n")
    _check_usage(data)
    name = _legal(first)
    if name is None:
        return
    pattern = re.compile(encodings(name).encode())
    assert len(pattern.pattern) <= 40 * len(name.encode())
    for spelling in _spellings(name):
        assert pattern.fullmatch(spelling), (name, spelling)
        assert unquote_to_bytes(spelling) == name.encode()
    assert (pattern.fullmatch(segment) is not None) == _spells(segment, name), (name, segment)


def _legal(text: bytes) -> str | None:
    try:
        return _model_name(text.decode())
    except ValueError:
        return None


def _spellings(name: str) -> Iterator[bytes]:
    """Give the shortest spelling, the longest that Envoy leaves, and one by chance."""
    draw = random.Random(zlib.crc32(name.encode()))  # noqa: S311 - the same each time
    yield quote(name, safe="!$&'()*+,;=:@~").encode()
    yield b"".join(bytes([byte]) if byte in _UNRESERVED else b"%%%02X" % byte for byte in name.encode())
    yield b"".join(_spelling(byte, draw) for byte in name.encode())


def _spelling(byte: int, draw: random.Random) -> bytes:
    if byte in _UNRESERVED or (byte in _PLAIN and draw.random() < 0.5):
        return bytes([byte])
    return draw.choice([b"%%%02x", b"%%%02X"]) % byte


def _spells(segment: bytes, name: str) -> bool:
    """Say whether a segment, its unreserved characters decoded as Envoy does, spells the name legally."""
    at, spelled = 0, bytearray()
    while at < len(segment):
        byte = segment[at]
        if byte == ord("%"):
            digits = segment[at + 1 : at + 3]
            if re.fullmatch(rb"[0-9A-Fa-f]{2}", digits) is None:
                return False
            byte = int(digits, 16)
            if byte in _UNRESERVED:
                return False
            at += 2
        elif byte not in _PLAIN:
            return False
        spelled.append(byte)
        at += 1
    return spelled == name.encode()


def _check_usage(data: bytes) -> None:
    """See that any path has an operation, and any encoded name one that can be kept."""
    text = data.decode(errors="replace")
    assert operation(text)
    name = _name(text)
    assert len(name) <= MAX_NAME
    name.encode()
