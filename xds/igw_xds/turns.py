"""Whose turn it is: deployments and when each is due in, who is next out. Pure; time is an argument.

Who was never asked comes first, but then those whose time has come have as many questions before the next new one.
Who changes keeps its place. So nobody waits longer because another changes, or comes anew, again and again.
"""

import heapq
import itertools
from dataclasses import dataclass, field, replace


@dataclass(frozen=True, slots=True, order=True)
class _Place:
    """Where somebody waits; of two that are due at once, who came first is first."""

    due: float
    number: int
    id: str = field(compare=False)
    questions: int = field(compare=False)


class Turns:
    """Those who wait to be asked, by id."""

    def __init__(self) -> None:
        """Nobody waits."""
        self._places: dict[str, _Place] = {}
        self._known: set[str] = set()
        self._new: list[_Place] = []
        self._again: list[_Place] = []
        self._owed = 0
        """Questions to those whose time has come before the next new one has its turn."""
        self._numbers = itertools.count()

    def put(self, key: str, due: float, questions: int) -> None:
        """Have one wait until it is due; who waits already is not put back by that. It will be asked so much."""
        waiting = self._places.get(key)
        place = _Place(due, next(self._numbers), key, questions)
        if waiting is not None and waiting < place:
            place = replace(place, due=waiting.due, number=waiting.number)
        self._places[key] = place
        heapq.heappush(self._again if key in self._known else self._new, place)

    def drop(self, key: str) -> None:
        """Forget one: when it comes back it is new."""
        self._places.pop(key, None)
        self._known.discard(key)

    def take(self, now: float) -> str | None:
        """Give whose turn it is, who then waits no longer; None where nobody is due."""
        new, again = self._first(self._new, now), self._first(self._again, now)
        if again is None:
            self._owed = 0
        if new is not None and self._owed <= 0:
            place, self._owed = new, new.questions
        elif again is not None:
            place, self._owed = again, self._owed - again.questions
        else:
            return None
        del self._places[place.id]
        self._known.add(place.id)
        return place.id

    def next_due(self) -> float | None:
        """Give when to look again: no later than the next one is due; None while nobody waits."""
        return min((heap[0].due for heap in (self._new, self._again) if heap), default=None)

    def _first(self, heap: list[_Place], now: float) -> _Place | None:
        while heap and self._places.get(heap[0].id) is not heap[0]:
            heapq.heappop(heap)  # it went, changed, or had its turn
        return heap[0] if heap and heap[0].due <= now else None
