"""What comes on one stream, cut into gRPC messages: content in, whole messages out. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass

from igw_ops.grpc.wire import PREFIX_BYTES, GrpcStatus


@dataclass(slots=True)
class RefusedError(Exception):
    """The stream cannot go on."""

    status: GrpcStatus
    text: str


class Inbox:
    """The message that is on its way."""

    __slots__ = ("_held", "_limit", "due")

    def __init__(self, limit: int) -> None:
        """Begin with nothing; `limit` is the longest message, in bytes."""
        self._limit = limit
        self._held: bytearray | None = None
        self.due = 0
        """How long the message on its way is, with its prefix; 0 while that is not known."""

    @property
    def held(self) -> int:
        """Give how much of it is here."""
        return 0 if self._held is None else len(self._held)

    def whole(self, content: bytes) -> bytes | None:
        """Give the message that content is, if it is just one and nothing came before: short ones mostly are."""
        if self._held is not None or len(content) < PREFIX_BYTES or content[0]:
            return None
        size = int.from_bytes(content[1:PREFIX_BYTES], "big")
        return content[PREFIX_BYTES:] if size == len(content) - PREFIX_BYTES <= self._limit else None

    def take(self, content: bytes) -> Iterator[bytes]:
        """Give the messages that are now whole. RefusedError for one compressed, or too long."""
        if self._held is None:
            self._held = bytearray()
        held = self._held
        held += content
        while len(held) >= PREFIX_BYTES:
            self.due = self.due or PREFIX_BYTES + self._size(held)
            if len(held) < self.due:
                return
            with memoryview(held) as view:
                message = bytes(view[PREFIX_BYTES : self.due])
            del held[: self.due]
            self.due = 0
            yield message
        if not held:
            self._held = None

    def _size(self, held: bytearray) -> int:
        size = int.from_bytes(held[1:PREFIX_BYTES], "big")
        if held[0]:
            raise RefusedError(
                GrpcStatus.UNIMPLEMENTED, "messages must not be compressed (grpc-encoding: identity)"
            )
        if size > self._limit:
            text = f"a message of {size} bytes; {self._limit} are the most"
            raise RefusedError(GrpcStatus.RESOURCE_EXHAUSTED, text)
        return size
