"""The calls that a server got: how many of each kind, how many are under way, and the most that were at once."""

import contextlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass


@dataclass(slots=True)
class UnderWay:
    """How many there are now, and the most that there were."""

    now: int = 0
    most: int = 0

    def begin(self) -> None:
        """Count one more."""
        self.now += 1
        self.most = max(self.most, self.now)

    def end(self) -> None:
        """Count one less."""
        self.now -= 1

    def reset(self) -> None:
        """Forget how many there were, but not those of now."""
        self.most = self.now


class Calls:
    """Counts by kind, calls under way, and the most at once of one token."""

    def __init__(self, kinds: Iterable[str]) -> None:
        self._counts = Counter(dict.fromkeys(kinds, 0))
        self._all = UnderWay()
        self._by_token: Counter[str] = Counter()
        self._most_of_one_token = 0

    def count(self, kind: str) -> None:
        """Count a call that is answered at once."""
        self._counts[kind] += 1

    @contextlib.contextmanager
    def under_way(self, kind: str, token: str) -> Iterator[None]:
        """Count a call, and have it under way while the context is open."""
        self.count(kind)
        self._all.begin()
        self._by_token[token] += 1
        self._most_of_one_token = max(self._most_of_one_token, self._by_token[token])
        try:
            yield
        finally:
            self._all.end()
            self._by_token[token] -= 1
            if not self._by_token[token]:
                del self._by_token[token]

    def reset(self) -> None:
        """Forget everything but the calls under way."""
        for kind in self._counts:
            self._counts[kind] = 0
        self._all.reset()
        self._most_of_one_token = max(self._by_token.values(), default=0)

    def document(self) -> dict[str, int]:
        """Give the JSON object of ``GET /demo/calls``."""
        return {
            **self._counts,
            "under_way": self._all.now,
            "most_at_once": self._all.most,
            "most_of_one_token": self._most_of_one_token,
        }
