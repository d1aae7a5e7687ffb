"""What a client says on an ADS stream: any requests are answered within bounds, and one that accepts all gets all.

A record a turn: a byte that says what is done, a length, and so many bytes: a request as protobuf, or what is built of
them. Both transports hear the same.
"""

from collections.abc import Iterator
from functools import cache
from typing import Any

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.service.discovery.v3.discovery_pb2 import (
    DeltaDiscoveryRequest,
    DeltaDiscoveryResponse,
    DiscoveryRequest,
    DiscoveryResponse,
)
from google.protobuf.message import DecodeError
from igw_xds.snapshot import CLUSTER, TYPES, Snapshot, resource, snapshot
from igw_xds.stream import DeltaResponse, DeltaStream, Response, SotwStream, encoded

WATCHED = ("igw_xds",)
MAX_BYTES = 2048
_NAMES = ("a", "b", "c", "*", "", "x" * 300)
_ROUNDS = 60
_VERSIONS = 3


def check(data: bytes) -> None:
    """Play the records on both transports, then accept all that comes."""
    for stream, kind in ((DeltaStream(), DeltaDiscoveryRequest), (SotwStream(), DiscoveryRequest)):
        _Client(stream, kind).play(data)


class _Client:
    """A client that says anything, and reads what it is sent."""

    def __init__(self, stream: Any, kind: Any) -> None:
        self._stream = stream
        self._kind = kind
        self._nonces: list[tuple[str, str]] = []
        self._served = _snapshot(0)

    def play(self, data: bytes) -> None:
        self._take(self._stream.publish(self._served))
        for action, content in _records(data):
            self._turn(action, content)
        self._accept_all()

    def _turn(self, action: int, content: bytes) -> None:
        if action % 4 == 0:
            self._served = _snapshot(sum(content) % _VERSIONS)
            self._take(self._stream.publish(self._served))
            return
        request = self._request(action, content) if action % 4 > 1 else self._read(content)
        if request is not None:
            self._say(request)

    def _read(self, content: bytes) -> Any:
        try:
            return self._kind.FromString(content)
        except DecodeError:
            return None

    def _request(self, action: int, content: bytes) -> Any:
        """Build a request: a type, names to ask for or to leave, an answer to an open response."""
        request = self._kind(type_url=TYPES[(action >> 2) % len(TYPES)])
        for byte in content[:8]:
            name = _NAMES[byte % len(_NAMES)]
            if self._kind is DiscoveryRequest:
                request.resource_names.append(name)
            elif byte & 0x80:
                request.resource_names_unsubscribe.append(name)
            elif byte & 0x40:
                request.initial_resource_versions[name] = str(byte)
            else:
                request.resource_names_subscribe.append(name)
        if action & 0x40 and self._nonces:
            request.type_url, request.response_nonce = self._nonces.pop(len(content) % len(self._nonces))
            if action & 0x80:
                request.error_detail.message = content.decode("latin-1")
        return request

    def _say(self, request: Any) -> None:
        responses = self._stream.receive(request)
        assert len(responses) <= 40 + 2 * sum(len(self._served.of(kind)) for kind in TYPES)
        self._take(responses)
        assert not self._stream.excessive  # an input is shorter than what would be too much
        for type_url in TYPES:
            assert all(isinstance(name, str) for name in self._stream.names(type_url))

    def _take(self, responses: list[Response]) -> None:
        for response in responses:
            kind = DeltaDiscoveryResponse if isinstance(response, DeltaResponse) else DiscoveryResponse
            message: Any = kind.FromString(encoded(response))
            assert message.type_url == response.type_url
            served = self._served.of(message.type_url)
            if isinstance(response, DeltaResponse):
                assert {entry.name for entry in message.resources} <= served.keys()
                if message.type_url == CLUSTER and self._stream.follows_all:
                    assert not set(message.removed_resources) & served.keys()
            assert (message.type_url, message.nonce) not in self._nonces
            self._nonces.append((message.type_url, message.nonce))

    def _accept_all(self) -> None:
        """Accept all that is open until nothing more comes: then nothing is left to be sent."""
        for _ in range(_ROUNDS + 4 * len(self._nonces)):
            if not self._nonces:
                break
            type_url, nonce = self._nonces.pop(0)
            request = self._kind(type_url=type_url, response_nonce=nonce)
            if self._kind is DiscoveryRequest:
                request.resource_names.extend(self._asked(type_url))
            self._take(self._stream.receive(request))
        assert not self._nonces, self._nonces
        if self._kind is DeltaDiscoveryRequest:
            assert self._stream.idle

    def _asked(self, type_url: str) -> list[str]:
        return sorted(self._stream.asked(type_url))


def _records(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + 2 <= len(data):
        yield data[at], data[at + 2 : at + 2 + data[at + 1]]
        at += 2 + data[at + 1]


@cache
def _snapshot(number: int) -> Snapshot:
    """Give a snapshot: the first has all of `a` and `b`, the second another `b`, the third `c` instead of it."""
    names = {0: ("a", "b"), 1: ("a", "b"), 2: ("a", "c")}[number]
    made = {name: Cluster(name=name, alt_stat_name=str(number) if name == "b" else "") for name in names}
    return snapshot({kind: [resource(name, message) for name, message in made.items()] for kind in TYPES})
