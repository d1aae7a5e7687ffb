"""Listings and happenings in any order: what counts, and that who was told to stop never does."""

from collections import deque
from dataclasses import dataclass, field, replace

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from igw_containers.container import Container, What
from igw_containers.presence import Presence

from tests.unit.containers.known import container, happening


def names(presence: Presence) -> list[str] | None:
    present = presence.present()
    return None if present is None else [each.name for each in present]


def test_before_the_first_listing() -> None:
    """Nothing is known, which is not that there is nothing."""
    presence = Presence()
    presence.hear(happening(What.STARTED))
    assert presence.present() is None
    presence.listed(presence.moment, [])
    assert presence.present() == ()


def test_one_that_is_told_to_stop_leaves_and_stays_away() -> None:
    """The engine lists it as running until it died, and for a while after that."""
    presence = Presence()
    presence.listed(0, [container("a"), container("b")])
    presence.hear(happening(What.STOPPING, "a"))
    assert names(presence) == ["b"]
    presence.listed(presence.moment, [container("a"), container("b")])
    assert names(presence) == ["b"]
    presence.listed(presence.moment, [container("b")])
    presence.hear(happening(What.STARTED, "a"))
    assert names(presence) == ["b"]
    presence.listed(presence.moment, [container("a"), container("b")])
    assert names(presence) == ["a", "b"]


def test_a_listing_that_is_late() -> None:
    """Asked for before it was told to stop, or before it started with another address: it says nothing of it."""
    presence = Presence()
    asked = presence.moment
    presence.hear(happening(What.STARTED, "a"))
    presence.listed(asked, [container("a")])
    assert names(presence) == []
    presence.listed(presence.moment, [container("a")])
    assert names(presence) == ["a"]


def test_a_listing_from_before_it_started_and_was_told_to_stop() -> None:
    """It is not in that listing, which does not mean that it is gone."""
    presence = Presence()
    asked = presence.moment
    presence.hear(happening(What.STARTED, "a"))
    presence.hear(happening(What.STOPPING, "a"))
    presence.listed(asked, [])
    presence.listed(presence.moment, [container("a")])
    assert names(presence) == []


def test_paused() -> None:
    """One that is paused counts again when it is no longer, unless it was told to stop."""
    presence = Presence()
    presence.listed(0, [container("a")])
    presence.hear(happening(What.PAUSED))
    presence.listed(presence.moment, [container("a")])  # the engine says so before it lists it so
    assert names(presence) == []
    presence.listed(presence.moment, [container("a", paused=True)])
    presence.hear(happening(What.UNPAUSED))
    presence.listed(presence.moment, [container("a")])
    assert names(presence) == ["a"]
    for what in (What.STOPPING, What.PAUSED, What.UNPAUSED):
        presence.hear(happening(what))
    presence.listed(presence.moment, [container("a")])
    assert names(presence) == []


def test_what_was_missed() -> None:
    """After too long a time without events the next listing is believed."""
    presence = Presence()
    presence.listed(0, [container("a")])
    presence.hear(happening(What.STOPPING))
    presence.missed()
    assert presence.present() is None
    presence.listed(presence.moment, [container("a")])
    assert names(presence) == ["a"]


@dataclass
class Machine:
    """One container of the engine."""

    running: bool = False
    paused: bool = False
    stopping: bool = False
    starts: int = 0


@dataclass
class Listing:
    """A listing that is under way: asked for at a moment, answered at any later one."""

    asked: int
    answer: list[Container] | None = field(default=None)


NAMES = st.sampled_from("ab")


class AnyOrder(RuleBasedStateMachine):
    """An engine whose events are late, whose listings are later, and which lists some changes after it told of them."""

    def __init__(self) -> None:
        super().__init__()
        self.presence = Presence()
        self.machines = {name: Machine() for name in "ab"}
        self.shown = {name: Machine() for name in "ab"}
        """As the engine lists them."""
        self.events: deque[tuple[What, str]] = deque()
        self.listing: Listing | None = None
        self.told_to_stop: set[str] = set()
        """Those of which we heard so, and not yet that they were started."""

    def _tell(self, what: What, name: str) -> None:
        self.events.append((what, name))

    @rule(name=NAMES)
    def start(self, name: str) -> None:
        machine = self.machines[name]
        if not machine.running:
            self.machines[name] = Machine(running=True, starts=machine.starts + 1)
            self.show(name)  # the engine lists it as running before it tells
            self._tell(What.STARTED, name)

    @rule(name=NAMES)
    def tell_to_stop(self, name: str) -> None:
        if self.machines[name].running:
            self.machines[name].stopping = True
            self._tell(What.STOPPING, name)

    @rule(name=NAMES)
    def die(self, name: str) -> None:
        machine = self.machines[name]
        if machine.running:
            self.machines[name] = Machine(starts=machine.starts)
            self._tell(What.STOPPING, name)

    @rule(name=NAMES)
    def pause(self, name: str) -> None:
        machine = self.machines[name]
        if machine.running:
            machine.paused = not machine.paused
            self._tell(What.PAUSED if machine.paused else What.UNPAUSED, name)

    @rule(name=NAMES)
    def show(self, name: str) -> None:
        self.shown[name] = replace(self.machines[name])

    @precondition(lambda self: self.events)
    @rule()
    def hear(self) -> None:
        what, name = self.events.popleft()
        self.presence.hear(happening(what, name))
        if what is What.STOPPING:
            self.told_to_stop.add(name)
        elif what is What.STARTED:
            self.told_to_stop.discard(name)

    @precondition(lambda self: self.listing is None)
    @rule()
    def ask(self) -> None:
        self.listing = Listing(self.presence.moment)

    @precondition(lambda self: self.listing is not None and self.listing.answer is None)
    @rule()
    def answer(self) -> None:
        assert self.listing is not None
        self.listing.answer = self._list()

    @precondition(lambda self: self.listing is not None and self.listing.answer is not None)
    @rule()
    def listed(self) -> None:
        assert self.listing is not None
        assert self.listing.answer is not None
        self.presence.listed(self.listing.asked, self.listing.answer)
        self.listing = None

    def _list(self) -> list[Container]:
        return [
            container(name, addresses={"n": f"10.0.0.{machine.starts}"}, paused=machine.paused)
            for name, machine in self.shown.items()
            if machine.running
        ]

    @invariant()
    def who_was_told_to_stop_does_not_count(self) -> None:
        assert not self.told_to_stop & set(names(self.presence) or ())

    def teardown(self) -> None:
        """Once all was heard and listed, what counts is what can serve, and nothing more is remembered of others."""
        while self.events:
            self.hear()
        for name in self.machines:
            self.show(name)
        self.presence.listed(self.presence.moment, self._list())
        serving = {name: m for name, m in self.machines.items() if m.running and not (m.paused or m.stopping)}
        assert {c.name: dict(c.addresses) for c in self.presence.present() or ()} == {
            name: {"n": f"10.0.0.{machine.starts}"} for name, machine in serving.items()
        }
        super().teardown()


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
