"""What Redis is not told yet, by project: bounded, and news that add up are one. No I/O."""

from dataclasses import dataclass, field
from itertools import count, islice
from typing import assert_never

from igw_extauth.keeper import Ended, Event, Running
from igw_extauth.limits.shared import Tell

PROJECTS = 10_000
LEASES = 1000
"""Of one project in one piece of news; those beyond are told with the next, or expire."""


@dataclass(slots=True)
class _News:
    running: dict[str, None] = field(default_factory=dict)
    ended: dict[str, None] = field(default_factory=dict)
    tokens: int = 0


class Untold:
    """News by project. They are numbered as they are taken, upward."""

    def __init__(self) -> None:
        self._news: dict[str, _News] = {}
        self._numbers = count()

    def __bool__(self) -> bool:
        return bool(self._news)

    def note(self, event: Event) -> int:
        """Take an event; give the tokens that are lost because there are too many projects."""
        news = self._news.get(event.project)
        if news is None:
            if len(self._news) >= PROJECTS:
                return event.tokens if isinstance(event, Ended) else 0
            news = self._news[event.project] = _News()
        match event:
            case Running(_, lease):
                _note(news.running, lease)
            case Ended(_, lease, tokens):
                news.running.pop(lease, None)
                _note(news.ended, lease)
                news.tokens += tokens
            case _:
                assert_never(event)
        return 0

    def take(self, most: int) -> list[Tell]:
        """Take the news of so many projects, the oldest first."""
        names = list(islice(self._news, most))
        return [self._tell(name, self._news.pop(name)) for name in names]

    def _tell(self, project: str, news: _News) -> Tell:
        return Tell(project, next(self._numbers), tuple(news.running), tuple(news.ended), news.tokens)


def _note(leases: dict[str, None], lease: str) -> None:
    if len(leases) < LEASES:
        leases[lease] = None
