"""A small Envoy for Hypothesis: it asks for what its resources name, and remembers what it was sent.

Cluster n names endpoints n, scope n names routes n; content is checked by version only. Responses wait in
`inbox` until the test lets it answer one; it holds the answer to clusters back while one of them is cold.
"""

from collections import Counter
from collections.abc import Callable
from typing import Any

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from google.protobuf.any_pb2 import Any as AnyMessage
from igw_xds.snapshot import CLUSTER, ENDPOINTS, LISTENER, NO_RESOURCES, ROUTES, SCOPE, Snapshot, resource

from tests.unit.xds_stream.builders import DeltaStream, SotwStream, ack, delta, nack, sotw

ROOTS = (CLUSTER, LISTENER, SCOPE)
CHILD = {CLUSTER: ENDPOINTS, SCOPE: ROUTES}


class ModelEnvoy:
    """One proxy with resources of its own, over one stream at a time."""

    def __init__(self, transport: str) -> None:
        self.delta = transport == "delta"
        self.has: dict[str, dict[str, str]] = {t: {} for t in (*ROOTS, ENDPOINTS, ROUTES)}
        self.versions: dict[str, str] = {}
        self.repeats: list[tuple[str, str]] = []
        self.warming: set[str] = set()
        self.newest: Snapshot | None = None
        self.heard: Callable[[], None] = lambda: None
        """Called after each request, as those are who follow a stream."""
        self.connect(None)

    def connect(self, snapshot: Snapshot | None, reference: Snapshot | None = None) -> None:
        """Open a new stream to one that has a snapshot, and takes another for what the client may have."""
        self.began(reference or snapshot or NO_RESOURCES)
        if snapshot is not None:
            self.publish(snapshot)
        self.ask_for_all()

    def began(self, reference: Snapshot = NO_RESOURCES) -> None:
        """Open a new stream; nothing of the one before is left but what the client has."""
        self.stream: Any = DeltaStream(reference=lambda: reference) if self.delta else SotwStream()
        self.inbox: list[Any] = []
        self.held: list[Any] = []
        self.warming = set()
        self.asked: dict[str, set[str]] = {}
        self.nonces: dict[str, str] = {}
        self.last: dict[tuple[str, str], str] = {(t, n): v for t in self.has for n, v in self.has[t].items()}
        self.excused = Counter[tuple[str, str]]()
        """How often a resource may be sent again though it did not change."""
        self.refused: set[tuple[str, str]] = set()

    def ask_for_all(self) -> None:
        """Say what it has and wants, as Envoy does, root types first."""
        for type_url in (CLUSTER, ENDPOINTS, LISTENER, SCOPE, ROUTES):
            if type_url in ROOTS or self.named(type_url):
                self._ask(type_url)

    def publish(self, snapshot: Snapshot) -> None:
        """Let the control plane publish; what was refused and is no more may come back, and is then told anew."""
        self.newest = snapshot
        self._forget_refused()
        self._take(self.stream.publish(snapshot))

    def answer(self, *, refuse: bool = False) -> None:
        """Read the oldest response and answer it; an ACK of clusters waits until they are warm."""
        if not self.inbox:
            return
        response = self.inbox.pop(0)
        self.nonces[response.type_url] = response.nonce
        if refuse:
            if response.type_url == ENDPOINTS:  # Envoy ends warming also when it refuses the endpoints
                self.warming -= {name for name, _ in contents(response)}
            self._forgive(response)
            self._say(nack(response, *self._names(response.type_url), version=self._version(response)))
            self._release()
            return
        self.refused -= {(response.type_url, name) for name, _ in contents(response)}
        self._apply(response)
        if not self.delta:  # as Envoy: what it has applied it names, though its ACK waits for warm clusters
            self.versions[response.type_url] = response.version_info
        self._follow(response.type_url)
        self.held.append(response)
        self._release()

    def time_out(self) -> None:
        """Stop waiting for endpoints that do not come (initial_fetch_timeout)."""
        self.warming = set()
        self._release()

    def named(self, type_url: str) -> set[str]:
        """Give the names of this type that its parents name."""
        return {n for parent, child in CHILD.items() if child == type_url for n in self.has[parent]}

    def _release(self) -> None:
        for response in [r for r in self.held if r.type_url != CLUSTER or not self.warming]:
            self.held.remove(response)
            self._say(ack(response, *self._names(response.type_url)))

    def _apply(self, response: Any) -> None:
        type_url, items = response.type_url, dict(contents(response))
        before = dict(self.has[type_url])
        if not self.delta and type_url in ROOTS:
            self.has[type_url] = {}
        self.has[type_url].update(items)
        for name in getattr(response, "removed_resources", ()):
            self.has[type_url].pop(name, None)
        if type_url == CLUSTER:
            self.warming = (self.warming & self.has[CLUSTER].keys()) | {
                name for name, version in items.items() if before.get(name) != version
            }
        if type_url == ENDPOINTS:
            self.warming = self.warming - items.keys() - set(getattr(response, "removed_resources", ()))

    def _follow(self, type_url: str) -> None:
        child = CHILD.get(type_url)
        if child is None:
            return
        for gone in self.has[child].keys() - self.named(child):
            del self.has[child][gone]
        if self.asked.get(child, set()) != self.named(child):
            self._ask(child)

    def _ask(self, type_url: str) -> None:
        names, before = self.named(type_url), self.asked.get(type_url, set())
        first, self.asked[type_url] = type_url not in self.asked, names
        known = self.has[type_url] if first and self.delta else {}
        self.excused.update((type_url, name) for name in names - before - known.keys())
        if not self.delta:
            nonce, version = self.nonces.get(type_url, ""), self.versions.get(type_url, "")
            self._say(sotw(type_url, *sorted(names), version=version, nonce=nonce))
            return
        self._say(delta(type_url, subscribe=names - before, unsubscribe=before - names, known=known))

    def _names(self, type_url: str) -> list[str]:
        return sorted(self.asked.get(type_url, ()))

    def _version(self, response: Any) -> str:
        return self.versions.get(response.type_url, "")

    def _say(self, request: Any) -> None:
        self._take(self.stream.receive(request))
        self.heard()

    def _take(self, responses: list[Any]) -> None:
        for response in responses:
            self._look_for_repeats(response)
            self.inbox.append(response)

    def _look_for_repeats(self, response: Any) -> None:
        type_url, whole = response.type_url, not self.delta and response.type_url in ROOTS
        items = dict(contents(response))
        before = {name: v for (t, name), v in self.last.items() if t == type_url}
        if whole and items == before and items:
            self.repeats += [(type_url, "*")]
        for name, version in items.items():
            key = (type_url, name)
            same = self.last.get(key) == version
            if not whole and same and not self.excused[key]:
                self.repeats.append(key)
            if type_url == CLUSTER and (not same or self.excused[key]):
                self.excused[ENDPOINTS, name] += 1
            self.excused[key] = max(0, self.excused[key] - 1) if same else 0
        if whole:
            self.last = {key: v for key, v in self.last.items() if key[0] != type_url}
        self.last.update({(type_url, name): version for name, version in items.items()})
        for name in getattr(response, "removed_resources", ()):
            self.last.pop((type_url, name), None)

    def _forget_refused(self) -> None:
        for type_url, name in self.refused:
            whole = not self.delta and type_url in ROOTS
            if not whole and self.newest is not None and name not in self.newest.of(type_url):
                self.last.pop((type_url, name), None)

    def _forgive(self, response: Any) -> None:
        """After a NACK of several, each of them may come again in a smaller part."""
        self.refused |= {(response.type_url, name) for name, _ in contents(response)}
        self._forget_refused()
        if len(response.resources) + bool(getattr(response, "removed_resources", ())) > 1:
            self.excused.update((response.type_url, name) for name, _ in contents(response))


def contents(response: Any) -> list[tuple[str, str]]:
    """Give name and version of each resource; the version is made anew from the content."""
    return [_version(item.resource if hasattr(item, "resource") else item) for item in response.resources]


def _version(body: AnyMessage) -> tuple[str, str]:
    message = Cluster()
    body.Unpack(message)
    return message.name, resource(message.name, message).version
