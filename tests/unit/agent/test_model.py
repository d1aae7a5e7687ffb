"""Whatever is sent, answered, lost and asked for anew: the cache has just what a model of Envoy has accepted."""

from collections.abc import Mapping

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tests.unit.agent.talk import CLUSTER, ENDPOINTS, LISTENER, Talk

NAMES = st.sampled_from(["a", "b", "c", "d"])
TYPES = st.sampled_from([CLUSTER, ENDPOINTS])


class Conversation(RuleBasedStateMachine):
    """An Envoy that accepts or refuses as it likes, and a connection that is lost now and then."""

    def __init__(self) -> None:
        super().__init__()
        self.talk = Talk()
        self.has: dict[str, dict[str, str]] = {CLUSTER: {}, ENDPOINTS: {}, LISTENER: {}}
        self.names: set[str] = set()
        self.waiting: dict[str, tuple[str, Mapping[str, str], set[str]]] = {}
        self.versions = 0
        self._begin()

    def _begin(self) -> None:
        self.waiting = {}
        for url in (CLUSTER, LISTENER):
            self.talk.asks(url, known=self.has[url])
        self.talk.asks(ENDPOINTS, *sorted(self.names), known=self.has[ENDPOINTS])

    @rule(url=TYPES, names=st.sets(NAMES), removed=st.sets(NAMES))
    def send(self, url: str, names: set[str], removed: set[str]) -> None:
        """The control plane sends new versions of some, and removes others."""
        self.versions += 1
        versions = {name: str(self.versions) for name in sorted(names)}
        nonce = self.talk.told(url, *sorted(removed - names), **versions)
        self.waiting[nonce] = (url, versions, removed - names)

    @precondition(lambda self: self.waiting)
    @rule(data=st.data(), refuses=st.booleans(), heard=st.booleans())
    def answer(self, data: st.DataObject, *, refuses: bool, heard: bool) -> None:
        """Envoy applies or refuses the oldest response of a type; the answer may be lost with the stream."""
        url = self.waiting[data.draw(st.sampled_from(sorted(self.waiting)))][0]
        nonce = next(nonce for nonce, (of, _, _) in self.waiting.items() if of == url)
        _, versions, removed = self.waiting.pop(nonce)
        if not refuses:
            wanted = {n: v for n, v in versions.items() if url == CLUSTER or n in self.names}
            self.has[url] = {n: v for n, v in {**self.has[url], **wanted}.items() if n not in removed}
        if not heard:
            self.lose()
        elif refuses:
            self.talk.nacks(url, nonce)
        else:
            self.talk.acks(url, nonce)

    @rule(names=st.sets(NAMES))
    def want(self, names: set[str]) -> None:
        """Envoy asks for endpoints of more clusters."""
        if names - self.names:
            self.talk.asks(ENDPOINTS, *sorted(names - self.names))
            self.names |= names

    @rule(names=st.sets(NAMES))
    def leave(self, names: set[str]) -> None:
        """Envoy asks for some no more."""
        if names & self.names:
            self.talk.leaves(ENDPOINTS, *sorted(names & self.names))
            self.names -= names
            for name in names:
                self.has[ENDPOINTS].pop(name, None)

    @rule()
    def lose(self) -> None:
        """The stream ends, whatever was under way, and Envoy comes back and says what it has."""
        self.talk.reconnects()
        self._begin()

    @invariant()
    def the_same(self) -> None:
        """Names and versions are those of the model, and what is kept is that, at moments in step."""
        held = {(url, name): kept.version for (url, name), kept in self.talk.cache.held.items()}
        assert held == {(url, name): v for url, has in self.has.items() for name, v in has.items()}
        if self.talk.cache.settle() is not None:
            assert self.talk.cache.held.items() <= dict(self.talk.cache.saved).items()


TestConversation = Conversation.TestCase
TestConversation.settings = settings(max_examples=75, stateful_step_count=30, deadline=None)
