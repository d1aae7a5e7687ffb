"""What passes between a worker and its keeper: values, and their bytes (a length, then MessagePack). Pure.

Numbers tell which question an answer is to. A token is in `Identify` alone.
"""

from collections.abc import Iterator, Sequence

import msgspec
from igw_model.policy import Provider

from igw_extauth.host.sums import Family
from igw_extauth.identity import Known, Unavailable, Unknown
from igw_extauth.keeper import Admitted, Ended, Event, Held, Running, Vouched

MAX_FRAME_BYTES = 4 * 1024 * 1024
"""Of one message; more than any is. A longer one ends the conversation."""
_LENGTH_BYTES = 4


class Message(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """One message."""


class Begin(Message, frozen=True):
    """To a worker, first: what it needs to answer checks. The secret keys the hashes of tokens."""

    secret: bytes
    worker: int
    entries: int
    timeout_seconds: float
    """For a question to the keeper."""
    log_level: str
    tls: tuple[str, str, str, str] | None = None
    """Files of the certificate, its key and the authorities, and the trust domain; None: checks come in clear."""

    def __repr__(self) -> str:
        """Hide the secret."""
        return f"Begin(worker={self.worker})"


class Listening(Message, frozen=True):
    """From a worker: it answers checks."""


class Identify(Message, frozen=True):
    """From a worker: whose token is it."""

    number: int
    provider: Provider
    key: bytes
    token: str

    def __repr__(self) -> str:
        """Hide the token."""
        return f"Identify(number={self.number})"


class Vouches(Message, frozen=True):
    """To a worker: a token is somebody's."""

    number: int
    identity: Known
    seconds: float
    refresh_seconds: float


class Disowns(Message, frozen=True):
    """To a worker: a token is nobody's."""

    number: int
    seconds: float
    refresh_seconds: float


class CannotTell(Message, frozen=True):
    """To a worker: the authority did not say."""

    number: int
    identity: Unavailable
    seconds: float
    refresh_seconds: float


class Admit(Message, frozen=True):
    """From a worker: whether a request of a project may pass."""

    number: int
    project: str


class Admits(Message, frozen=True):
    """To a worker: it may."""

    number: int
    admission: Admitted


class Holds(Message, frozen=True):
    """To a worker: it may not."""

    number: int
    admission: Held


class Report(Message, frozen=True):
    """From a worker: what became of requests; each with its project, its lease, and the tokens of one that ended."""

    events: tuple[tuple[str, str, int | None], ...]


class Forget(Message, frozen=True):
    """To a worker: tokens are revoked."""

    number: int
    keys: frozenset[bytes]


class Count(Message, frozen=True):
    """To a worker: tell what you count."""

    number: int


class Forgotten(Message, frozen=True):
    """From a worker: it remembers those tokens no more."""

    number: int


class Counted(Message, frozen=True):
    """From a worker: all that it counts."""

    number: int
    families: tuple[Family, ...]


FromWorker = Listening | Identify | Admit | Report | Forgotten | Counted
ToWorker = Begin | Vouches | Disowns | CannotTell | Admits | Holds | Forget | Count

FROM_WORKER: "msgspec.msgpack.Decoder[FromWorker]" = msgspec.msgpack.Decoder(FromWorker)
TO_WORKER: "msgspec.msgpack.Decoder[ToWorker]" = msgspec.msgpack.Decoder(ToWorker)


def vouching(number: int, vouched: Vouched) -> Vouches | Disowns | CannotTell:
    """Give an identity as a message."""
    match vouched.identity:
        case Known() as known:
            return Vouches(number, known, vouched.seconds, vouched.refresh_seconds)
        case Unknown():
            return Disowns(number, vouched.seconds, vouched.refresh_seconds)
        case Unavailable() as unavailable:
            return CannotTell(number, unavailable, vouched.seconds, vouched.refresh_seconds)


def vouched(message: Vouches | Disowns | CannotTell) -> Vouched:
    """Read an identity."""
    identity = Unknown() if isinstance(message, Disowns) else message.identity
    return Vouched(identity, message.seconds, message.refresh_seconds)


def reporting(events: Sequence[Event]) -> Report:
    """Give events as a message."""
    return Report(tuple((e.project, e.lease, e.tokens if isinstance(e, Ended) else None) for e in events))


def reported(message: Report) -> list[Event]:
    """Read events."""
    return [
        Running(project, lease) if tokens is None else Ended(project, lease, tokens)
        for project, lease, tokens in message.events
    ]


def frame(message: Message) -> bytes:
    """Give a message's bytes. ValueError for a text that is no Unicode, or a message that is too long."""
    content = msgspec.msgpack.encode(message)
    if len(content) > MAX_FRAME_BYTES:
        raise ValueError("a message that is too long")
    return len(content).to_bytes(_LENGTH_BYTES, "big") + content


class Frames:
    """What comes on one side, cut into messages' bytes."""

    def __init__(self) -> None:
        self._held = bytearray()

    def take(self, data: bytes) -> Iterator[bytes]:
        """Give the messages that are now whole. ValueError for one that is too long."""
        self._held += data
        begin, held = 0, len(self._held)
        while held - begin >= _LENGTH_BYTES:
            size = int.from_bytes(self._held[begin : begin + _LENGTH_BYTES], "big")
            if size > MAX_FRAME_BYTES:
                raise ValueError("a message that is too long")
            end = begin + _LENGTH_BYTES + size
            if end > held:
                break
            yield bytes(self._held[begin + _LENGTH_BYTES : end])
            begin = end
        del self._held[:begin]
