"""A server of checks over real sockets, those who know whose a token is, and those who call; on both loops."""

import asyncio
import inspect
import socket
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
import uvloop
from igw_extauth.check import Check
from igw_extauth.identity import Identity, Known, Principal, Unknown
from igw_extauth.keeper import Admission, Event, Vouched
from igw_extauth.remembered import Remembered
from igw_extauth.secret import BearerToken
from igw_extauth.wire.http_connection import Connection
from igw_extauth.wire.http_shell import HttpServer
from igw_model.policy import Provider
from igw_ops.listening import listening_socket

SMALL = 16 * 1024


def on_both_loops(test: Callable[..., Coroutine[None, None, None]]) -> Callable[..., None]:
    """Play a test on asyncio's own loop and on uvloop, which serves: they differ in many a small way."""
    signature = inspect.signature(test)
    loops = [asyncio.new_event_loop, uvloop.new_event_loop]

    def played(loop_factory: Callable[[], asyncio.AbstractEventLoop], **arguments: object) -> None:
        with asyncio.Runner(loop_factory=loop_factory) as runner:
            runner.run(test(**arguments))

    added = inspect.Parameter("loop_factory", inspect.Parameter.KEYWORD_ONLY)
    played.__signature__ = signature.replace(parameters=[*signature.parameters.values(), added])  # type: ignore[attr-defined]
    played.__doc__ = test.__doc__
    return pytest.mark.parametrize("loop_factory", loops, ids=["asyncio", "uvloop"])(played)


class People(Remembered):
    """Remembers everybody, and knows those whose name begins with h; must ask of those with ``slow`` in theirs.

    Needs no loop: most of what is tested over it has none.
    """

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.answered: list[str] = []
        self.open = asyncio.Event()

    def key(self, provider: Provider, token: BearerToken) -> bytes | None:
        """Remember by name; whoever begins with n is nobody's."""
        del provider
        return None if token.reveal().startswith("n") else token.reveal().encode()

    def get(self, key: bytes) -> Identity | None:
        """Remember the quick ones."""
        if key == b"broken":
            raise RuntimeError("a fault of ours")
        return None if b"slow" in key else _identity(key.decode())

    async def identify(self, provider: Provider, key: bytes, token: BearerToken) -> Identity:
        """Ask of the others, once the way is open."""
        del provider, key
        self.asked.append(token.reveal())
        await self.open.wait()
        if "broken" in token.reveal():
            raise RuntimeError("a fault of ours")
        self.answered.append(token.reveal())
        return _identity(token.reveal())


def _identity(name: str) -> Identity:
    return Known(Principal(name, frozenset({"org-1"}))) if name.startswith("h") else Unknown()


@dataclass
class Counter:
    """A keeper that vouches for everybody, and lets requests pass as it is told; it notes what it hears."""

    admissions: dict[str, Admission] = field(default_factory=dict)
    identities: dict[str, Identity] = field(default_factory=dict)
    """By token; others are everybody's."""
    reported: list[Event] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    open: asyncio.Event = field(default_factory=asyncio.Event)
    """Answers wait until it is set."""
    seconds: float = 60

    async def identify(self, provider: Provider, key: bytes, token: BearerToken) -> Vouched:
        """Vouch, once the way is open."""
        del provider, key
        self.asked.append(token.reveal())
        await self.open.wait()
        someone = Known(Principal("ann", frozenset({"org-1", "team-a"}), "team-a"))
        return Vouched(self.identities.get(token.reveal(), someone), self.seconds, self.seconds)

    async def admit(self, project: str) -> Admission:
        """Let pass, or not, once the way is open."""
        self.asked.append(project)
        await self.open.wait()
        return self.admissions[project]

    def report(self, events: Sequence[Event]) -> None:
        """Note."""
        self.reported += events


@dataclass(frozen=True)
class Caller:
    """One side of a connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def says(self, *requests: bytes) -> None:
        """Send requests."""
        self.writer.write(b"".join(requests))
        await self.writer.drain()

    async def hears(self, length: int) -> str:
        """Read so many bytes."""
        async with asyncio.timeout(10):
            return (await self.reader.readexactly(length)).decode()

    async def hears_all(self) -> str:
        """Read until the connection ends."""
        async with asyncio.timeout(10):
            return (await self.reader.read()).decode()

    async def hears_nothing(self) -> None:
        """See that nothing comes, and the connection stays."""
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await self.reader.read(1)


@dataclass(frozen=True)
class Scene:
    """A server and those who know."""

    people: People
    server: HttpServer
    port: int

    @asynccontextmanager
    async def caller(self) -> AsyncIterator[Caller]:
        """Connect."""
        sock = socket.create_connection(("127.0.0.1", self.port))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL)
        reader, writer = await asyncio.open_connection(sock=sock, limit=SMALL)
        yield Caller(reader, writer)
        writer.transport.abort()

    @property
    def connections(self) -> set[Connection]:
        """The server's connections."""
        return self.server._connections


@asynccontextmanager
async def scene(*, idle_seconds: float = 75) -> AsyncIterator[Scene]:
    """Run a server."""
    people = People()
    with listening_socket("HTTP checks", "127.0.0.1", 0) as sock:
        # Inherited by the connections: replies that are not read must not all fit into the system.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SMALL)
        server = HttpServer(Check(people, Counter()), idle_seconds=idle_seconds)
        await server.start(sock)
        yield Scene(people, server, sock.getsockname()[1])
        await server.stop(0)
    await until(lambda: not server._connections)
    assert asyncio.all_tasks() == {asyncio.current_task()}, "a task was left behind"


async def until(true: Callable[[], object]) -> None:
    """Wait until something holds."""
    async with asyncio.timeout(30):
        while not true():  # noqa: ASYNC110 - no event tells
            await asyncio.sleep(0.005)
