"""Reports under any course of events: what a receiver sees is each record in one report, whose bytes never change."""

import asyncio
import json
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from igw_usage.delivery import Verdict, verdict
from igw_usage.outbox import Batch
from igw_usage.reports import Attempt, Pace, Sender, World

from tests.unit.usage.receiver import reported, world
from tests.unit.usage.scene import Clock, opened

TOLD, ANSWERED, RESTARTED, AGAIN, SET = "told", "answered", "restarted", "again", "set"
TELLING = st.tuples(st.just(TOLD), st.integers(1, 7))
ANSWERING = st.tuples(st.just(ANSWERED), st.sampled_from([400, 200, 503]))
EVENTS = st.one_of(
    TELLING,
    ANSWERING,
    TELLING | ANSWERING,  # more often than what follows
    st.tuples(st.just(RESTARTED), st.just(0)),
    st.tuples(st.just(AGAIN), st.just(0)),
    st.tuples(st.just(SET), st.sampled_from([-86_400, 86_400])),
)
ROWS = """
SELECT (SELECT COUNT(*) FROM outbox WHERE number NOT IN (
    SELECT number FROM batches, outbox WHERE number BETWEEN first AND last AND refused IS NOT NULL)),
  (SELECT COUNT(*) FROM totals), (SELECT COUNT(*) FROM outbox), (SELECT COUNT(*) FROM seen)
"""
"""What waits, and how many rows there are, counted."""


@dataclass
class Play:
    """One course of events, and what the receiver saw."""

    folder: Path
    clock: Clock = field(default_factory=Clock)
    status: int = 200
    told: int = 0
    seen: defaultdict[str, set[bytes]] = field(default_factory=lambda: defaultdict(set))
    taken: set[str] = field(default_factory=set)

    async def send(self, batch: Batch) -> Attempt:
        """Take a report, or not."""
        self.seen[batch.id].add(batch.content)
        if verdict(self.status) is Verdict.DELIVERED:
            self.taken.add(batch.id)
        return Attempt(verdict(self.status), self.status)

    async def play(self, events: Sequence[tuple[str, int]]) -> None:
        """Play until all is taken; a restart begins a new process over the same folder."""
        given = world(self.clock)  # its ids go on over restarts, as random ones do
        rest = iter([*events, (AGAIN, 0)])
        while await self._process(rest, given):
            pass

    async def _process(self, events: Iterator[tuple[str, int]], given: World) -> bool:
        """Play until a restart; say whether there was one."""
        async with opened(self.folder, self.clock) as ledger:
            sender = Sender(ledger, self.send, Pace(3, 10), lambda *_: None, given)
            for event, number in events:
                self.clock.at += 11
                match event:
                    case "told":
                        await ledger.export(reported(*range(self.told, self.told + number)))
                        self.told += number
                    case "answered":
                        self.status = number
                        await sender.step()
                    case "again":
                        await ledger.send_again()
                    case "set":
                        self.clock.wrong += number
                    case _:
                        return True
                (waiting, *sizes) = await ledger.read(lambda connection: connection.execute(ROWS).fetchone())
                assert ledger.depth.waiting == waiting
                assert [ledger.rows.totals, ledger.rows.outbox, ledger.rows.seen] == sizes
            self.status = 200
            while ledger.rows.outbox:
                self.clock.at += 11
                await sender.step()
        return False


@given(st.lists(EVENTS, min_size=10, max_size=30))
@settings(max_examples=30, deadline=None)
def test_each_record_is_in_one_report(events: list[tuple[str, int]]) -> None:
    """Whatever is told, answered, set aside, sent again and restarted, in whatever order, by whatever clock."""
    with tempfile.TemporaryDirectory() as folder:
        play = Play(Path(folder))
        asyncio.run(play.play(events))
    assert all(len(contents) == 1 for contents in play.seen.values())
    assert play.taken == set(play.seen)
    bodies = [json.loads(content) for contents in play.seen.values() for content in contents]
    found = sorted(int(record["requestId"][3:]) for body in bodies for record in body["records"])
    assert found == list(range(play.told))
