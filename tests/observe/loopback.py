"""The discovery server on loopback, and one client of it that answers when told."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from tests.unit.xds_stream.loopback import Plane, serving


@dataclass(frozen=True)
class Watched:
    """A control plane, and the client's incremental stream."""

    plane: Plane
    call: Any


@asynccontextmanager
async def watched(canary_seconds: float = 0) -> AsyncIterator[Watched]:
    """Serve, with one incremental stream open."""
    async with serving(canary_seconds) as plane:
        yield Watched(plane, plane.call("delta"))
