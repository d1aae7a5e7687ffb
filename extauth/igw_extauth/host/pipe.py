"""The keeper over a socket: `PipeKeeper` at the worker's end, `WorkerEnd` at the keeper's.

Tokens cross this socket alone. Many questions are under way at once, in number bounded by the one who asks; whoever
does not answer in time is taken to be away.
"""

import asyncio
import itertools
import socket
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar, assert_never

import msgspec
import structlog
from igw_model.policy import Provider

from igw_extauth.host import messages
from igw_extauth.host.messages import FromWorker, Message, ToWorker
from igw_extauth.host.sums import Families
from igw_extauth.identity import Unavailable
from igw_extauth.keeper import Admission, Admitted, Ended, Event, Exceeded, Held, Keeper, Levels, Vouched
from igw_extauth.secret import BearerToken

MAX_QUESTIONS = 4096
"""Of one worker, under way; beyond, they are refused at once to bound memory."""
MAX_UNSENT_BYTES = 8 * 1024 * 1024
"""What a side that does not read may be sent; beyond, reports are dropped: leases expire. A worker is hung up on."""
CONFIRM_SECONDS = 1.0
"""For a worker to confirm what it was told, or to tell what it counted."""
RETRY_SECONDS = 1.0

_AWAY = Vouched(Unavailable("the keeper does not answer"), 0, 0)
_NO_LIMITS = Held(Exceeded.UNAVAILABLE, RETRY_SECONDS, Levels())

Received = TypeVar("Received", bound=Message)
log = structlog.get_logger(__name__)


class Pipe(asyncio.Protocol, Generic[Received]):
    """One side of the socket: messages in and out."""

    def __init__(
        self,
        decoder: "msgspec.msgpack.Decoder[Received]",
        take: Callable[[Received], None],
        lost: Callable[[], None],
    ) -> None:
        self._decoder = decoder
        self._take = take
        self._lost = lost
        self._frames = messages.Frames()
        self._transport: Any = None

    def connection_made(self, transport: Any) -> None:
        """Begin."""
        self._transport = transport

    def connection_lost(self, _: Exception | None) -> None:
        """End."""
        self._lost()

    def data_received(self, data: bytes) -> None:
        """Take what the other side said; what is not of ours ends the conversation."""
        try:
            for content in self._frames.take(data):
                self._take(self._decoder.decode(content))
        except (ValueError, msgspec.MsgspecError) as error:
            # Its text and its trace may quote what was sent.
            log.error("pipe_broken", reason=type(error).__name__)  # noqa: TRY400
            self._transport.abort()

    def send(self, message: Message) -> None:
        """Say something; nothing happens when nobody hears. ValueError for what cannot be said."""
        content = messages.frame(message)
        if not self._transport.is_closing():
            self._transport.write(content)

    @property
    def unsent(self) -> int:
        """Give the bytes that the other side has not taken."""
        size: int = self._transport.get_write_buffer_size()
        return size

    def close(self) -> None:
        """Hang up."""
        self._transport.abort()


Answer = TypeVar("Answer")


class PipeKeeper:
    """The keeper (`igw_extauth.keeper.Keeper`) as a worker has it; made by `connected`."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.begun: asyncio.Future[messages.Begin] = loop.create_future()
        self.gone = asyncio.Event()
        """Set when the keeper is."""
        self.forget: Callable[[frozenset[bytes]], None] = lambda _: None
        self.families: Callable[[], Families] = tuple
        self._loop = loop
        self._numbers = itertools.count(1)
        self._vouching: dict[int, asyncio.Future[Vouched]] = {}
        self._admitting: dict[int, tuple[str, asyncio.Future[Admission]]] = {}
        self._timeout_seconds = 1.0
        self._pipe: Pipe[ToWorker] = Pipe(messages.TO_WORKER, self._take, self._lose)

    @classmethod
    async def connected(cls, sock: socket.socket) -> "PipeKeeper":
        """Speak to the keeper over a socket, and wait until it has said what a worker is to know."""
        keeper = cls()
        await keeper._loop.create_unix_connection(lambda: keeper._pipe, sock=sock)
        await keeper.begun
        return keeper

    def listening(self) -> None:
        """Tell that this worker answers checks."""
        self._pipe.send(messages.Listening())

    def close(self) -> None:
        """Hang up."""
        self._pipe.close()

    async def identify(self, provider: Provider, key: bytes, token: BearerToken) -> Vouched:
        """Give a token's identity; a keeper that is away is an outage."""
        if self._is_full():
            return _AWAY
        number, waiting = next(self._numbers), self._loop.create_future()
        self._vouching[number] = waiting
        self._pipe.send(messages.Identify(number, provider, key, token.reveal()))
        return await self._in_time(waiting, _AWAY)

    async def admit(self, project: str) -> Admission:
        """Take a slot; a keeper that is away has none. One that comes too late is given back."""
        if self._is_full():
            return _NO_LIMITS
        number, waiting = next(self._numbers), self._loop.create_future()
        try:
            self._pipe.send(messages.Admit(number, project))
        except ValueError:
            return Held(Exceeded.UNKNOWN_PROJECT, RETRY_SECONDS, Levels())
        self._admitting[number] = (project, waiting)
        return await self._in_time(waiting, _NO_LIMITS)

    def report(self, events: Sequence[Event]) -> None:
        """Tell what became of requests."""
        if self._pipe.unsent > MAX_UNSENT_BYTES:
            log.warning("reports_dropped", events=len(events))
            return
        self._pipe.send(messages.reporting([event for event in events if _is_unicode(event.project)]))

    def _is_full(self) -> bool:
        return self.gone.is_set() or len(self._vouching) + len(self._admitting) >= MAX_QUESTIONS

    async def _in_time(self, waiting: "asyncio.Future[Answer]", otherwise: Answer) -> Answer:
        timer = self._loop.call_later(self._timeout_seconds, _settle, waiting, otherwise)
        try:
            return await waiting
        finally:
            timer.cancel()

    def _take(self, message: ToWorker) -> None:
        match message:
            case messages.Vouches() | messages.Disowns() | messages.CannotTell():
                if (vouching := self._vouching.pop(message.number, None)) is not None:
                    _settle(vouching, messages.vouched(message))
            case messages.Admits(number, admission) | messages.Holds(number, admission):
                self._take_admission(number, admission)
            case messages.Forget(number, keys):
                self.forget(keys)
                self._pipe.send(messages.Forgotten(number))
            case messages.Count(number):
                self._pipe.send(messages.Counted(number, self.families()))
            case messages.Begin():
                self._timeout_seconds = message.timeout_seconds
                _settle(self.begun, message)
            case _:
                assert_never(message)

    def _take_admission(self, number: int, admission: Admission) -> None:
        project, admitting = self._admitting.pop(number, (None, None))
        if admitting is None or project is None:
            return
        if not admitting.done():
            admitting.set_result(admission)
        elif isinstance(admission, Admitted):
            self.report([Ended(project, admission.lease)])

    def _lose(self) -> None:
        self.gone.set()
        for vouching in self._vouching.values():
            _settle(vouching, _AWAY)
        for _, admitting in self._admitting.values():
            _settle(admitting, _NO_LIMITS)
        if not self.begun.done():
            self.begun.set_exception(ConnectionResetError("the keeper is gone"))


def _is_unicode(text: str) -> bool:
    """Say whether a text can be sent: one that cannot was never admitted."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _settle(waiting: "asyncio.Future[Answer]", answer: Answer) -> None:
    if not waiting.done():
        waiting.set_result(answer)


class WorkerEnd:
    """One worker, as the keeper's process has it: its questions are answered, and it is told things."""

    def __init__(self, keeper: Keeper) -> None:
        self.listening = asyncio.Event()
        """Set when the worker answers checks."""
        self.counted: Families = ()
        """What it told last of what it counts."""
        self._keeper = keeper
        self._numbers = itertools.count(1)
        self._confirming: dict[int, asyncio.Future[None]] = {}
        self._answering: set[asyncio.Task[None]] = set()
        self._gone = False
        self._deaf = False
        self._pipe: Pipe[FromWorker] = Pipe(messages.FROM_WORKER, self._take, self._lose)

    async def connect(self, sock: socket.socket, begin: messages.Begin) -> None:
        """Speak to the worker over a socket; tell it first what it is to know."""
        await asyncio.get_running_loop().create_unix_connection(lambda: self._pipe, sock=sock)
        self._pipe.send(begin)

    def close(self) -> None:
        """Hang up."""
        self._pipe.close()

    async def forget(self, keys: frozenset[bytes]) -> bool:
        """Have the worker forget tokens; False when it does not confirm that in time. One that is gone has."""
        return await self._confirmed(lambda number: messages.Forget(number, keys))

    async def count(self) -> None:
        """Have the worker tell what it counts, into `counted`; what it told before stays when it does not."""
        await self._confirmed(messages.Count)

    async def _confirmed(self, question: Callable[[int], Message]) -> bool:
        if self._deaf or self._pipe.unsent > MAX_UNSENT_BYTES:
            self._deaf = True
            self.close()
            return False  # what it remembers it may still use, until its process reads on and ends
        if self._gone:
            return True
        number = next(self._numbers)
        confirming = self._confirming[number] = asyncio.get_running_loop().create_future()
        try:
            self._pipe.send(question(number))
            async with asyncio.timeout(CONFIRM_SECONDS):
                await confirming
        except TimeoutError:
            return False
        finally:
            del self._confirming[number]
        return True

    def _take(self, message: FromWorker) -> None:
        match message:
            case messages.Identify() | messages.Admit():
                self._answer(message)
            case messages.Report():
                self._keeper.report(messages.reported(message))
            case messages.Forgotten(number):
                self._confirm(number)
            case messages.Counted(number, families):
                self.counted = families
                self._confirm(number)
            case messages.Listening():
                self.listening.set()
            case _:
                assert_never(message)

    def _confirm(self, number: int) -> None:
        if (confirming := self._confirming.get(number)) is not None:
            _settle(confirming, None)

    def _answer(self, question: messages.Identify | messages.Admit) -> None:
        asking = (
            self._identify(question) if isinstance(question, messages.Identify) else self._admit(question)
        )
        task = asyncio.get_running_loop().create_task(asking)
        self._answering.add(task)
        task.add_done_callback(self._answering.discard)

    async def _identify(self, question: messages.Identify) -> None:
        token = BearerToken(question.token)
        try:
            vouched = await self._keeper.identify(question.provider, question.key, token)
            self._pipe.send(messages.vouching(question.number, vouched))
        except Exception:  # a fault of ours, or a name that is no text; the worker must hear of it
            log.exception("keeper_failed")
            self._pipe.send(messages.vouching(question.number, _AWAY))

    async def _admit(self, question: messages.Admit) -> None:
        try:
            admission = await self._keeper.admit(question.project)
        except Exception:
            log.exception("keeper_failed")
            admission = _NO_LIMITS
        match admission:
            case Admitted() if self._gone:
                self._keeper.report([Ended(question.project, admission.lease)])
            case Admitted():
                self._pipe.send(messages.Admits(question.number, admission))
            case Held():
                self._pipe.send(messages.Holds(question.number, admission))
            case _:
                assert_never(admission)

    def _lose(self) -> None:
        """Take the worker's end; what it asked goes on, for others and to be given back."""
        self._gone = True
        for confirming in self._confirming.values():
            _settle(confirming, None)
