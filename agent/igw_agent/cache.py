"""What Envoy holds, read off the messages of its delta stream, and what of it is worth keeping. Pure.

Only an ACK puts a resource in. What is kept for the next Envoy (`saved`) is what this one holds at a moment when it is
in step: it has asked for all that it starts with, was answered, and has answered. So what is kept is a whole: what a
new Envoy did not get again is gone from it the first time it is in step, and until then the old whole stays.
"""

from collections.abc import Collection, Mapping

from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest, DeltaDiscoveryResponse

from igw_agent.conversation import WILDCARD, Asked, Kept, Key, Offer

Contents = Mapping[Key, Kept]
NOTHING: Contents = {}


class Cache:
    """What one Envoy holds, over all its streams, and what is kept of it."""

    def __init__(self, roots: Collection[str], saved: Contents = NOTHING) -> None:
        """Begin with what an earlier Envoy left. `roots`: the types that every Envoy asks for, and all of."""
        self.roots = frozenset(roots)
        self.saved = saved
        """What a new Envoy may start with: a whole. Never changed, only replaced."""
        self.held: dict[Key, Kept] = {}
        """What this Envoy has accepted."""
        self.refused: dict[Key, str] = {}
        """Versions that it was sent and that it does not have, until it accepts another or the name is gone."""
        self.complete = False
        """Whether this Envoy was in step once: it has something to go on with."""
        self._former: dict[tuple[Key, str], Kept] = {}
        self._current: Stream | None = None

    def begin(self) -> "Stream":
        """Begin a stream; the one before counts no more. What it left unanswered Envoy may have taken."""
        if self._current is not None:
            self._former |= {(kept.key, kept.version): kept for kept in self._current.open_resources()}
        self._current = Stream(self)
        return self._current

    @property
    def in_step(self) -> bool:
        """Say whether Envoy has asked for all, and neither side waits for the other."""
        return self._current is not None and self._current.in_step

    def settle(self) -> Contents | None:
        """Give what to keep from now on; None while Envoy is not in step.

        Of what Envoy was sent in a version that it refused, the version that was accepted last is kept.
        """
        if not self.in_step:
            return None
        earlier = {
            key: was
            for key, version in self.refused.items()
            if (was := self.saved.get(key)) is not None and was.version != version
        }
        self.saved = {**earlier, **self.held}
        self.complete = True
        return self.saved

    def is_current(self, stream: "Stream") -> bool:
        """Say whether it is the newest stream."""
        return self._current is stream

    def put(self, kept: Kept) -> None:
        """Take what Envoy has accepted."""
        self.held[kept.key] = kept
        self.refused.pop(kept.key, None)

    def drop(self, key: Key) -> None:
        """Forget what Envoy no longer has."""
        self.held.pop(key, None)
        self.refused.pop(key, None)

    def refuse(self, kept: Kept) -> None:
        """Remember what Envoy was sent and did not take."""
        self.refused[kept.key] = kept.version

    def claim(self, type_url: str, known: Mapping[str, str]) -> None:
        """Take what Envoy says it has of a type, as it begins a stream; what it does not say it has not.

        A version that we never saw cannot be kept; what is saved of that name stays.
        """
        found = {name: self._found((type_url, name), version) for name, version in known.items()}
        for key in [key for key in self.held if key[0] == type_url]:
            del self.held[key]
        for name, kept in found.items():
            if kept is not None:
                self.held[kept.key] = kept
            else:
                self.refused[type_url, name] = known[name]
        self._former = {mark: kept for mark, kept in self._former.items() if kept.type_url != type_url}

    def _found(self, key: Key, version: str) -> Kept | None:
        candidates = (self.held.get(key), self._former.get((key, version)), self.saved.get(key))
        return next((kept for kept in candidates if kept is not None and kept.version == version), None)


class Stream:
    """One delta stream of Envoy's, overheard: `hear` what it says and `tell` what it is told, before it is."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache
        self._types: dict[str, Asked] = {}

    def hear(self, request: DeltaDiscoveryRequest) -> None:
        """Take a request: an answer to a response, and what Envoy asks for."""
        if not self._cache.is_current(self):
            return
        url = request.type_url
        asked = self._types.get(url)
        if asked is None:
            self._begin(request)
            return
        found = asked.unanswered.pop(request.response_nonce, None)
        if found is not None:
            self._answered(asked, found, refused=request.HasField("error_detail"))
        asked.move(request)
        if request.resource_names_unsubscribe:
            self._let_go(asked, request)

    def tell(self, response: DeltaDiscoveryResponse) -> None:
        """Take a response, before Envoy can answer it."""
        asked = self._types.get(response.type_url)
        if asked is not None and self._cache.is_current(self):
            asked.told(response)

    @property
    def in_step(self) -> bool:
        """See `Cache.in_step`."""
        return self._types.keys() >= self._cache.roots and all(asked.quiet for asked in self._types.values())

    def open_resources(self) -> list[Kept]:
        """Give what Envoy was sent and has not answered."""
        return [kept for asked in self._types.values() for kept in asked.open_resources()]

    def _begin(self, request: DeltaDiscoveryRequest) -> None:
        """Take the first request of a type: it states what Envoy has of it."""
        url, known = request.type_url, dict(request.initial_resource_versions)
        asked = self._types[url] = Asked()
        asked.move(request, whole=url in self._cache.roots)
        asked.has(known)
        self._cache.claim(url, {name: version for name, version in known.items() if asked.covers(name)})

    def _answered(self, asked: Asked, found: Offer, *, refused: bool) -> None:
        for name, kept in found.resources.items():
            if refused:
                self._cache.refuse(kept)
            elif asked.covers(name):
                self._cache.put(kept)
        if not refused:
            for name in found.removed:
                self._cache.drop((found.type_url, name))

    def _let_go(self, asked: Asked, request: DeltaDiscoveryRequest) -> None:
        """Forget what Envoy no longer wants."""
        url, names = request.type_url, set(request.resource_names_unsubscribe)
        if WILDCARD in names:
            names |= {name for of, name in {*self._cache.held, *self._cache.refused} if of == url}
        for name in names:
            if not asked.covers(name):
                self._cache.drop((url, name))
