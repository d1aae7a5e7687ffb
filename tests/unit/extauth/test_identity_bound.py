"""Nobody passes whose token was not valid within its time and the allowance: any history, two hosts and a worker each.

The authority, the time and what the hosts share are models here, so that a history is exact; all else is the real
code. tests/unit/extauth/test_identities.py and test_shared_identities.py have real ones.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule
from igw_extauth import hashing
from igw_extauth.authority.lane import lanes
from igw_extauth.identities.cache import Memory
from igw_extauth.identities.freshness import Entry, Freshness
from igw_extauth.identities.kept import Identities, Kept
from igw_extauth.identities.revocations import Revocations, all_keys, revoked_seconds
from igw_extauth.identity import Identity, Known, Principal, Unavailable, Unknown
from igw_extauth.keeper import Admission, Event, Vouched
from igw_extauth.remembered import Remembered
from igw_extauth.secret import BearerToken
from igw_extauth.timing import Clock
from igw_model.policy import Provider

SECRET = b"0123456789abcdef"
FRESH, STALE, FAILURE = 60.0, 300.0, 10.0
RULE = Freshness(FRESH, STALE, FAILURE)
TOKENS = [BearerToken(f"CW-SECRET-{i}") for i in range(3)]
HOSTS = range(2)
EPSILON = 1e-6

T = TypeVar("T")


class World:
    """The time, the authority's truth, and what happened."""

    def __init__(self) -> None:
        self.now = 0.0
        self.up = True
        self.failed = False
        """Whether it was ever down or slow."""
        self.open = asyncio.Event()
        self.open.set()
        self.valid: dict[BearerToken, bool] = dict.fromkeys(TOKENS, False)
        self.last_valid: dict[BearerToken, float] = dict.fromkeys(TOKENS, float("-inf"))
        self.shared: dict[bytes, Entry] = {}
        self.shares = True

    def clock(self) -> Clock:
        """Give its clocks."""
        return Clock(lambda: self.now, lambda: self.now + 1e6)

    def note(self) -> None:
        """Take down who is valid now."""
        self.last_valid |= {token: self.now for token, valid in self.valid.items() if valid}

    async def ask(self, token: BearerToken, again: Callable[[], bool]) -> Identity:
        """Answer as an authority: by how things stand when it is asked, and when it gets round to it."""
        del again
        identity: Identity = Known(Principal("p", frozenset({"o"}))) if self.valid[token] else Unknown()
        up = self.up
        await self.open.wait()
        return identity if up and self.up else Unavailable("down")

    async def get(self, key: bytes) -> Entry | None:
        """Give what the hosts share."""
        return self.shared.get(key) if self.shares else None

    async def put(self, key: bytes, entry: Entry) -> None:
        """Keep what the hosts share."""
        if self.shares:
            self.shared[key] = entry

    async def delete(self, key: bytes) -> None:
        """Forget what the hosts share."""
        if self.shares:
            self.shared.pop(key, None)


class Host:
    """One host: the real identities, and the real memory of a worker before them."""

    def __init__(self, world: World) -> None:
        clock = world.clock()
        kept = Kept(Memory(2), Revocations(all_keys(SECRET)), world)
        ways = {Provider.COREWEAVE: lanes(Provider.COREWEAVE, world, 1e6, 1e6, clock)}
        self.identities = Identities(RULE, ways, kept, clock)
        self.worker = Remembered(self, SECRET, 2, clock.now)
        self.identities.on_revoked(self.worker.forget)

    async def identify(self, provider: Provider, key: bytes, token: BearerToken) -> Vouched:
        """Ask the keeper, as a worker does."""
        return await self.identities.identify(provider, key, token)

    async def admit(self, project: str) -> Admission:
        """Not asked here."""
        raise AssertionError(project)

    def report(self, events: Any) -> None:
        """Not told here."""
        raise AssertionError(list[Event](events))


class Histories(RuleBasedStateMachine):
    """Any history of requests, of the authority, of operators and of time."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.revoked_until: dict[tuple[int, BearerToken], float] = {}
        self.waiting: list[asyncio.Task[None]] = []

    @initialize()
    def begin(self) -> None:
        """Begin with two hosts that know nothing."""
        self.run(self._begin())

    async def _begin(self) -> None:
        self.world = World()
        self.hosts = [Host(self.world) for _ in HOSTS]

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Do something, and let all that can go on go on."""

        async def quietly() -> T:
            result = await work
            for _ in range(60):
                await asyncio.sleep(0)
            return result

        return self.loop.run_until_complete(quietly())

    @rule(token=st.sampled_from(TOKENS), valid=st.booleans())
    def turns(self, token: BearerToken, valid: bool) -> None:  # noqa: FBT001 - a drawn value
        """The authority takes a token in or out."""
        self.world.note()
        self.world.valid[token] = valid
        self.world.note()

    @rule(seconds=st.sampled_from([0.3, 1.0, 2.5, 11.0, 49.0, 58.0, 61.0, 150.0, 299.0]))
    def passes(self, seconds: float) -> None:
        """Time goes on."""
        self.world.now += seconds
        self.world.note()

    @rule(up=st.booleans())
    def fails(self, up: bool) -> None:  # noqa: FBT001 - a drawn value
        """The authority goes down or comes up."""
        self.world.up = up
        self.world.failed |= not up

    @rule(shares=st.booleans())
    def parts(self, shares: bool) -> None:  # noqa: FBT001 - a drawn value
        """What the hosts share goes or comes."""
        self.world.shares = shares

    @rule(slow=st.booleans())
    def slows(self, slow: bool) -> None:  # noqa: FBT001 - a drawn value
        """The authority takes its time, or answers all that waits."""

        async def change() -> None:
            self.world.open.clear() if slow else self.world.open.set()

        self.world.failed |= slow
        self.run(change())

    @rule(host=st.sampled_from(HOSTS), token=st.sampled_from(TOKENS))
    def revokes(self, host: int, token: BearerToken) -> None:
        """An operator revokes a token at a host."""
        self.run(self.hosts[host].identities.revoke(hashing.digest(token.reveal())))
        self.revoked_until[host, token] = self.world.now + revoked_seconds(RULE)

    @rule(host=st.sampled_from(HOSTS), token=st.sampled_from(TOKENS))
    def comes(self, host: int, token: BearerToken) -> None:
        """A request comes, and is answered at once or when the authority is."""

        async def begin() -> None:
            self.waiting.append(asyncio.create_task(self._request(host, token)))

        self.run(begin())
        self.waiting = [task for task in self.waiting if not (task.done() and self._ended(task))]

    def _ended(self, task: asyncio.Task[None]) -> bool:
        task.result()
        return True

    async def _request(self, host: int, token: BearerToken) -> None:
        worker = self.hosts[host].worker
        key = worker.key(Provider.COREWEAVE, token)
        assert key is not None
        identity = worker.get(key) or await worker.identify(Provider.COREWEAVE, key, token)
        if isinstance(identity, Known):
            self._passed(host, token)

    def _passed(self, host: int, token: BearerToken) -> None:
        world = self.world
        bound = RULE.seconds if world.failed else FRESH
        assert world.last_valid[token] >= world.now - bound - EPSILON
        assert world.now >= self.revoked_until.get((host, token), float("-inf"))

    def teardown(self) -> None:
        """All that waits is answered within the rule, too."""
        self.world.open.set()

        async def end() -> None:
            await asyncio.gather(*self.waiting)
            for host in self.hosts:
                await host.identities.aclose()
                await host.worker.aclose()

        self.run(end())
        self.loop.close()


Histories.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestHistories = pytest.mark.filterwarnings("ignore::ResourceWarning")(Histories.TestCase)
