"""The keeper over a real socketpair: questions and answers, silence, ends, and bytes that are no message."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from igw_extauth.host import messages
from igw_extauth.host.pipe import MAX_QUESTIONS, PipeKeeper, WorkerEnd
from igw_extauth.host.sums import Family
from igw_extauth.identity import Identity, Known, Principal, Unavailable, Unknown
from igw_extauth.keeper import (
    Admission,
    Admitted,
    Ended,
    Event,
    Exceeded,
    Held,
    Level,
    Levels,
    Running,
    Vouched,
)
from igw_extauth.secret import BearerToken
from igw_model.policy import Provider

from tests.unit.extauth.scene import Counter, on_both_loops, until

TOKEN = BearerToken("CW-SECRET-0123456789")
KEY = b"k" * 32
SECRET = b"0123456789abcdef"
COREWEAVE = Provider.COREWEAVE


@dataclass
class Ends:
    """Both sides, and the keeper behind."""

    keeper: Counter
    worker: PipeKeeper
    end: WorkerEnd

    async def whose(self, token: BearerToken = TOKEN) -> Vouched:
        """Ask whose a token is."""
        return await self.worker.identify(COREWEAVE, KEY, token)


@asynccontextmanager
async def ends(timeout_seconds: float = 3, *, answering: bool = True) -> AsyncIterator[Ends]:
    """Connect a worker's side with a keeper's."""
    keeper = Counter()
    if answering:
        keeper.open.set()
    ours, theirs = socket.socketpair()
    end = WorkerEnd(keeper)
    await end.connect(ours, messages.Begin(SECRET, 7, 100, timeout_seconds, "info"))
    worker = await PipeKeeper.connected(theirs)
    yield Ends(keeper, worker, end)
    keeper.open.set()
    worker.close()
    end.close()
    await worker.gone.wait()
    await until(lambda: asyncio.all_tasks() == {asyncio.current_task()})


@on_both_loops
async def test_a_worker_begins_with_what_it_is_to_know() -> None:
    """The secret comes first, and over this socket alone."""
    async with ends() as at:
        begun = at.worker.begun.result()
        assert (begun.secret, begun.worker, begun.entries) == (SECRET, 7, 100)
        assert not at.end.listening.is_set()
        at.worker.listening()
        await at.end.listening.wait()


@pytest.mark.parametrize(
    "identity",
    [
        Known(Principal("ann", frozenset({"a", "b/€"}), "a")),
        Known(Principal("", frozenset())),
        Unknown(),
        Unavailable("status 500"),
    ],
    ids=["known", "nameless", "unknown", "unavailable"],
)
@on_both_loops
async def test_an_identity_comes_as_it_was_given(identity: Identity) -> None:
    """Each kind, and its times."""
    async with ends() as at:
        at.keeper.identities[TOKEN.reveal()] = identity
        assert await at.whose() == Vouched(identity, 60, 60)


LEVELS = Levels(Level(1, 0, 0.5), None)


@on_both_loops
async def test_an_admission_comes_as_it_was_given() -> None:
    """A slot with its levels, and each limit that was met."""
    async with ends() as at:
        given: list[Admission] = [
            Admitted("lease", LEVELS),
            *(Held(limit, 1.5, LEVELS) for limit in Exceeded),
        ]
        at.keeper.admissions = {f"team/{n}": admission for n, admission in enumerate(given)}
        asked = [at.worker.admit(f"team/{n}") for n in range(len(given))]
        assert await asyncio.gather(*asked) == given


@on_both_loops
async def test_reports_come_in_their_order() -> None:
    """What became of requests is told as it was, project and all."""
    said: list[Event] = [
        Running("t/a%", "1"),
        Ended("t/é", "1", 2**53),
        Running("t/b", "2"),
        Ended("t/b", "2"),
    ]
    async with ends() as at:
        at.worker.report(said[:3])
        at.worker.report(said[3:])
        await until(lambda: len(at.keeper.reported) == 4)
        assert at.keeper.reported == said


@on_both_loops
async def test_many_questions_are_under_way_and_a_slow_one_holds_up_nobody() -> None:
    """Each gets its own answer, in whatever order they come."""
    async with ends(answering=False) as at:
        at.keeper.identities = {f"CW-SECRET-{n}": Known(Principal(str(n), frozenset())) for n in range(200)}
        asking = [asyncio.create_task(at.whose(BearerToken(f"CW-SECRET-{n}"))) for n in range(200)]
        await until(lambda: len(at.keeper.asked) == 200)
        assert await at.end.forget(frozenset({KEY}))
        at.keeper.open.set()
        assert [answer.identity for answer in await asyncio.gather(*asking)] == list(
            at.keeper.identities.values()
        )


@on_both_loops
async def test_a_keeper_that_is_silent_is_an_outage() -> None:
    """Who waits is answered in time; a slot that comes too late is given back."""
    async with ends(0.1, answering=False) as at:
        at.keeper.admissions["team/p"] = Admitted("late", LEVELS)
        vouched, admission = await asyncio.gather(at.whose(), at.worker.admit("team/p"))
        assert vouched == Vouched(Unavailable("the keeper does not answer"), 0, 0)
        assert isinstance(admission, Held)
        assert admission.limit is Exceeded.UNAVAILABLE
        at.keeper.open.set()
        await until(lambda: at.keeper.reported)
        assert at.keeper.reported == [Ended("team/p", "late")]


@on_both_loops
async def test_a_keeper_that_is_lost_is_an_outage() -> None:
    """Those who wait hear of it at once, and so does who asks later."""
    async with ends(answering=False) as at:
        asking = [asyncio.create_task(at.whose()), asyncio.create_task(at.worker.admit("team/p"))]
        await until(lambda: len(at.keeper.asked) == 2)
        at.end.close()
        async with asyncio.timeout(1):
            vouched, admission = await asyncio.gather(*asking)
            assert (vouched, admission) == (await at.whose(), await at.worker.admit("team/p"))
        assert isinstance(vouched, Vouched)
        assert isinstance(vouched.identity, Unavailable)
        assert isinstance(admission, Held)
        at.worker.report([Running("team/p", "x")])


@on_both_loops
async def test_a_slot_for_a_worker_that_is_gone_is_given_back() -> None:
    """Nobody else could."""
    async with ends(answering=False) as at:
        at.keeper.admissions["team/p"] = Admitted("lease", LEVELS)
        asking = asyncio.create_task(at.worker.admit("team/p"))
        await until(lambda: at.keeper.asked)
        at.worker.close()
        await asking
        at.keeper.open.set()
        await until(lambda: at.keeper.reported)
        assert at.keeper.reported == [Ended("team/p", "lease")]


@on_both_loops
async def test_questions_under_way_are_bounded() -> None:
    """Beyond, they are refused at once."""
    async with ends(answering=False) as at:
        asking = [asyncio.create_task(at.whose()) for _ in range(MAX_QUESTIONS)]
        await asyncio.sleep(0)
        async with asyncio.timeout(0.5):
            assert isinstance((await at.whose()).identity, Unavailable)
            assert isinstance(await at.worker.admit("team/p"), Held)
        at.keeper.open.set()
        assert all(isinstance(each.identity, Known) for each in await asyncio.gather(*asking))


@on_both_loops
async def test_a_fault_of_the_keeper_ends_nothing() -> None:
    """A question that fails is an outage, as is a name that is no text; the next is answered."""
    async with ends() as at:
        at.keeper.identities["CW-SECRET-half"] = Known(Principal("\ud800", frozenset()))
        failed = await at.whose(BearerToken("CW-SECRET-half")), await at.worker.admit("no such project")
        assert isinstance(failed[0].identity, Unavailable)
        assert isinstance(failed[1], Held)
        assert isinstance(await at.worker.admit("team/\ud800"), Held)
        at.worker.report([Running("team/\ud800", "x"), Running("team/p", "y")])
        await until(lambda: at.keeper.reported)
        assert at.keeper.reported == [Running("team/p", "y")]
        assert isinstance((await at.whose()).identity, Known)


@on_both_loops
async def test_a_worker_forgets_and_counts_as_it_is_told() -> None:
    """What it confirms is done; what it counted is known."""
    family = Family("checks", "counter", "text", (("checks_total", {"outcome": "allowed"}, 3.0),))
    forgotten: list[frozenset[bytes]] = []
    async with ends() as at:
        at.worker.forget, at.worker.families = forgotten.append, lambda: (family,)
        assert await at.end.forget(frozenset({KEY}))
        assert forgotten == [{KEY}]
        await at.end.count()
        assert at.end.counted == (family,)


@on_both_loops
async def test_a_worker_that_is_gone_remembers_nothing() -> None:
    """A revocation does not wait for it."""
    async with ends() as at:
        at.worker.close()
        assert await at.end.forget(frozenset({KEY}))


@on_both_loops
async def test_a_worker_that_reads_nothing_is_hung_up_on() -> None:
    """What it is not told it does not confirm, and what waits for it is bounded."""
    ours, theirs = socket.socketpair()
    with theirs:
        end = WorkerEnd(Counter())
        await end.connect(ours, messages.Begin(SECRET, 1, 1, 1, "info"))
        keys = frozenset(n.to_bytes(32, "big") for n in range(100_000))
        forgetting = [asyncio.create_task(end.forget(keys)) for _ in range(4)]
        await until(lambda: end._gone)
        await asyncio.gather(*forgetting)
        assert not forgetting[-1].result()
        assert not await end.forget(keys)


@pytest.mark.parametrize("sent", [b"\0\0\0\x01\xc1", b"\xff\xff\xff\xff", b"\0\0\0\x02\x91\x01"])
@on_both_loops
async def test_bytes_that_are_no_message_end_the_conversation(sent: bytes) -> None:
    """They are not of ours, and nothing is guessed."""
    ours, theirs = socket.socketpair()
    with theirs:
        end = WorkerEnd(Counter())
        await end.connect(ours, messages.Begin(SECRET, 1, 1, 1, "info"))
        theirs.sendall(sent)
        await until(lambda: end._gone)


def test_no_message_shows_a_secret() -> None:
    """Neither the token nor the secret is in what a log could hold."""
    for message in (
        messages.Identify(1, COREWEAVE, KEY, TOKEN.reveal()),
        messages.Begin(SECRET, 1, 1, 1, "info"),
    ):
        shown = f"{message!r} {message} {[message]}"
        assert TOKEN.reveal() not in shown
        assert SECRET.decode() not in shown


@given(st.lists(st.integers(0, 60)), st.lists(st.text(max_size=5), max_size=5))
def test_any_chunking_gives_the_same_messages(cuts: list[int], projects: list[str]) -> None:
    """The socket may cut anywhere."""
    sent = [messages.Admit(number, project) for number, project in enumerate(projects)]
    data = b"".join(map(messages.frame, sent))
    frames, edges = messages.Frames(), [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    read = [each for a, b in pairwise(edges) for each in frames.take(data[a:b])]
    assert [messages.FROM_WORKER.decode(each) for each in read] == sent
