"""What happened at the discovery server and elsewhere since it was last asked, for the reporter to look into."""

import asyncio
import contextlib
from collections.abc import Iterable
from dataclasses import dataclass, field

from igw_xds.world import Key


@dataclass(slots=True)
class Heard:
    """What is to be looked at again."""

    answers: dict[str, set[str]] = field(default_factory=dict)
    """Names of resources that a proxy accepted or refused, by type URL."""
    objects: set[Key] = field(default_factory=set)
    fleet: bool = False
    """Whether proxies came or went."""


class News:
    """Collects what happened; call it from one event loop."""

    def __init__(self) -> None:
        self._heard = Heard()
        self._something = asyncio.Event()

    def answered(self, type_url: str, names: Iterable[str]) -> None:
        """Tell of an ACK or a NACK."""
        self._heard.answers.setdefault(type_url, set()).update(names)
        self._something.set()

    def changed(self, objects: Iterable[Key]) -> None:
        """Tell of objects that changed, or whose replicas did."""
        self._heard.objects.update(objects)
        self._something.set()

    def moved(self) -> None:
        """Tell that a proxy came and has what it was sent, or went."""
        self._heard.fleet = True
        self._something.set()

    async def wait(self, seconds: float) -> None:
        """Wait until something happened, at most so long."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._something.wait()

    def take(self) -> Heard:
        """Give what happened, and forget it."""
        heard, self._heard = self._heard, Heard()
        self._something.clear()
        return heard
