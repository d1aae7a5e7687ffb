"""What is sent to one client: values that name shared resources, and their bytes. Pure.

A resource is encoded once; a response is a frame around such bytes, so a thousand clients get the same ones. Field
numbers: envoy/service/discovery/v3/discovery.proto.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from igw_xds.snapshot import Resource

# A tag is a field's number and how it is written; ours are strings, bytes and messages (2: a length comes first).
_VERSION, _ENTRY, _TYPE_URL, _NONCE, _REMOVED = (bytes([number << 3 | 2]) for number in (1, 2, 4, 5, 6))
_ENTRY_VERSION, _ENTRY_RESOURCE, _ENTRY_NAME = (bytes([number << 3 | 2]) for number in (1, 2, 3))
_SEVEN_BITS: Final = 0x7F


@dataclass(frozen=True, slots=True)
class DeltaResponse:
    """A `DeltaDiscoveryResponse`."""

    type_url: str
    nonce: str
    version: str
    resources: tuple[Resource, ...] = ()
    removed: tuple[str, ...] = ()

    def parts(self) -> Iterator[bytes]:
        """Give its bytes in order; those of resources are not copied."""
        yield _head(self.version, self.type_url, self.nonce)
        for resource in self.resources:
            about = _field(_ENTRY_VERSION, resource.version) + _field(_ENTRY_NAME, resource.name)
            body = _ENTRY_RESOURCE + varint(len(resource.encoded))
            yield _ENTRY + varint(len(about) + len(body) + len(resource.encoded)) + about + body
            yield resource.encoded
        if self.removed:
            yield b"".join(_field(_REMOVED, name) for name in self.removed)


@dataclass(frozen=True, slots=True)
class SotwResponse:
    """A `DiscoveryResponse`."""

    type_url: str
    nonce: str
    version: str
    resources: tuple[Resource, ...] = ()

    def parts(self) -> Iterator[bytes]:
        """Give its bytes in order; those of resources are not copied."""
        yield _head(self.version, self.type_url, self.nonce)
        for resource in self.resources:
            yield _ENTRY + varint(len(resource.encoded))
            yield resource.encoded


Response = DeltaResponse | SotwResponse


def encoded(response: Response) -> bytes:
    """Give a response as one message."""
    return b"".join(response.parts())


def _head(version: str, type_url: str, nonce: str) -> bytes:
    return _field(_VERSION, version) + _field(_TYPE_URL, type_url) + _field(_NONCE, nonce)


def _field(tag: bytes, text: str) -> bytes:
    data = text.encode()
    return tag + varint(len(data)) + data if data else b""


def varint(number: int) -> bytes:
    """Give a length as protobuf writes it."""
    if number <= _SEVEN_BITS:
        return bytes((number,))
    found = bytearray()
    while number > _SEVEN_BITS:
        found.append(number & _SEVEN_BITS | 0x80)
        number >>= 7
    found.append(number)
    return bytes(found)
