"""Where replicas are in, how many of them are ready out: asked as Envoy asks, but for status alone.

Envoys see for themselves whom they send to. A GET must answer 200; one good answer makes a replica ready, two bad
ones in a row take that away (as `resources/liveness.py` tells Envoy). With many replicas rounds take longer: so
many questions a second are asked, and no more; whose turn it is, is in `turns`.
"""

import asyncio
import contextlib
import socket
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import assert_never

from igw_model.deployment import DnsBackend, StaticBackend

from igw_xds.observation import Replicas
from igw_xds.plan import Containers, Location, Registered
from igw_xds.resources.liveness import HEALTH_CHECK_HOST
from igw_xds.settings import HostPort
from igw_xds.turns import Turns

ROUND_SECONDS = 2.0
TIMEOUT_SECONDS = 2.0
MAX_PER_SECOND = 100
MAX_AT_ONCE = 256
"""Enough for that pace though none answers in time."""
RESOLVERS = 16
RESOLVE_SECONDS = 5.0
LONGEST_ROUND_SECONDS = 60.0
"""Rounds of a name that leads nowhere double up to this: until the resolver gives up it holds one of the threads."""
BAD_IN_A_ROW = 2
MAX_LINE_BYTES = 1024

Asked = StaticBackend | DnsBackend | Containers
"""Whose replicas are asked: all but those that say themselves that they are there."""


@dataclass(slots=True, eq=False)
class _Patient:
    """A deployment's backend, and what its replicas answered: how often badly in a row, by address."""

    id: str
    backend: Asked
    asked: bool = False
    bad: dict[HostPort, int] = field(default_factory=dict)
    pause: float = ROUND_SECONDS

    def hear(self, answers: Mapping[HostPort, bool]) -> None:
        """Take a round's answers; an address that was never good is bad at once."""
        before = self.bad
        self.bad = {
            at: 0 if good else min(before.get(at, BAD_IN_A_ROW) + 1, BAD_IN_A_ROW)
            for at, good in answers.items()
        }
        self.asked = True

    @property
    def replicas(self) -> Replicas:
        """Count them; a name that leads nowhere stands for one replica that is not ready."""
        ready = sum(bad < BAD_IN_A_ROW for bad in self.bad.values())
        total = max(len(self.bad), _least(self.backend))
        return Replicas(ready, total, asked=self.asked or total == 0)

    def moved(self, backend: Asked) -> "_Patient":
        """Give who is to be asked at another backend; a container that stays is as ready as it was."""
        patient = _Patient(self.id, backend)
        match self.backend, backend:
            case Containers(health_check=before), Containers(replicas, check) if before == check:
                patient.bad = {at: self.bad[at] for at in replicas if at in self.bad}
                patient.asked = bool(patient.bad)
        return patient


class Health:
    """Asks replicas for as long as `run` runs; `heard(deployment_id)` is called when their count changed."""

    def __init__(self, heard: Callable[[str], None]) -> None:
        self._heard = heard
        self._loop = asyncio.get_running_loop()
        self._patients: dict[str, _Patient] = {}
        self._turns = Turns()
        self._woken = asyncio.Event()
        self._limit = asyncio.Semaphore(MAX_AT_ONCE)
        # Not the loop's own threads: names that resolve slowly would hold up whoever else needs one.
        self._resolvers = ThreadPoolExecutor(RESOLVERS, "resolve")

    def follow(self, deployment_id: str, backend: Location | None) -> None:
        """Ask the replicas of a backend as soon as it is their turn; None, or nobody to ask: no longer."""
        if backend is None or isinstance(backend, Registered):
            self._patients.pop(deployment_id, None)
            self._turns.drop(deployment_id)
            return
        known = self._patients.get(deployment_id)
        if known is not None and known.backend == backend:
            return
        patient = known.moved(backend) if known else _Patient(deployment_id, backend)
        self._patients[deployment_id] = patient
        self._ask_at(self._loop.time(), patient)

    def of(self, deployment_id: str) -> Replicas | None:
        """Count a deployment's replicas; None when it is not followed."""
        patient = self._patients.get(deployment_id)
        return None if patient is None else patient.replicas

    async def run(self) -> None:
        """Ask whose turn it is, at the pace that all of them together allow."""
        try:
            async with asyncio.TaskGroup() as asking:
                while True:
                    patient = self._patients[await self._next()]
                    asking.create_task(self._ask(patient))
                    await asyncio.sleep(_least(patient.backend) / MAX_PER_SECOND)
        finally:
            self._resolvers.shutdown(wait=False, cancel_futures=True)

    async def _next(self) -> str:
        while (deployment_id := self._turns.take(self._loop.time())) is None:
            self._woken.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(self._turns.next_due()):
                    await self._woken.wait()
        return deployment_id

    def _ask_at(self, due: float, patient: _Patient) -> None:
        self._turns.put(patient.id, due, _least(patient.backend))
        self._woken.set()

    async def _ask(self, patient: _Patient) -> None:
        before = patient.replicas
        addresses, host = await self._addresses(patient.backend)
        answers = await asyncio.gather(
            *(self._is_ready(at, patient.backend.health_check.path, host) for at in addresses)
        )
        # A name that cannot be resolved now takes nothing away at once: Envoy keeps its addresses too.
        patient.hear(dict(zip(addresses, answers, strict=True)) or dict.fromkeys(patient.bad, False))
        if self._patients.get(patient.id) is not patient:
            return
        if patient.replicas != before:
            self._heard(patient.id)
        patient.pause = ROUND_SECONDS if addresses else min(2 * patient.pause, LONGEST_ROUND_SECONDS)
        self._ask_at(self._loop.time() + patient.pause, patient)

    async def _addresses(self, backend: Asked) -> tuple[Sequence[HostPort], str]:
        """Give where a backend's replicas are, and the host name to ask them under."""
        match backend:
            case StaticBackend(endpoints=endpoints):
                found = dict.fromkeys(HostPort(at.address, at.port) for at in endpoints)
                return list(found), HEALTH_CHECK_HOST
            case Containers(replicas):
                return replicas, HEALTH_CHECK_HOST
            case DnsBackend(hostname=hostname, port=port):
                return [HostPort(at, port) for at in await self._resolved(hostname, port)], hostname
            case other:
                assert_never(other)

    async def _resolved(self, hostname: str, port: int) -> Sequence[str]:
        """Give a name's addresses, IPv4 if it has any: as Envoy does; none when it leads nowhere now."""
        resolve = partial(socket.getaddrinfo, hostname, port, type=socket.SOCK_STREAM)
        try:
            async with asyncio.timeout(RESOLVE_SECONDS):
                found = await asyncio.get_running_loop().run_in_executor(self._resolvers, resolve)
        except (OSError, UnicodeError):
            return []
        by_family = {family: [str(at[0]) for f, *_, at in found if f == family] for family, *_ in found}
        return list(dict.fromkeys(by_family.get(socket.AF_INET) or by_family.get(socket.AF_INET6) or []))

    async def _is_ready(self, at: HostPort, path: str, host: str) -> bool:
        async with self._limit:
            try:
                async with asyncio.timeout(TIMEOUT_SECONDS):
                    return await _answers(at, path, host)
            except (OSError, EOFError, ValueError, TimeoutError):
                return False


async def _answers(at: HostPort, path: str, host: str) -> bool:
    """Ask one replica on a connection of its own, and read the status line alone.

    An HTTP client would cost ten times as much, and nothing else of the answer counts. Raises OSError; EOFError and
    ValueError (asyncio's) for what is no HTTP.
    """
    reader, writer = await asyncio.open_connection(at.host, at.port, limit=MAX_LINE_BYTES)
    try:
        writer.write(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        line = await reader.readuntil(b"\n")
    except asyncio.LimitOverrunError as error:
        raise ValueError("no status line") from error
    finally:
        writer.close()
    return line.startswith(b"HTTP/1.") and line[8:12] == b" 200"


def _least(backend: Asked) -> int:
    """Give how many replicas a backend has, as far as is known without asking."""
    match backend:
        case StaticBackend(endpoints=endpoints):
            return len(endpoints)
        case Containers(replicas):
            return len(replicas)
        case DnsBackend():
            return 1
        case other:
            assert_never(other)
