"""The workers of a host: processes that accept from the same sockets, kept running, told and asked together."""

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
from asyncio.subprocess import Process
from collections.abc import Mapping
from typing import Any

import structlog
from igw_certs.contexts import ServerTls

from igw_extauth.host import messages, sums
from igw_extauth.host.keeping import LocalKeeper
from igw_extauth.host.pipe import WorkerEnd
from igw_extauth.metrics import RESTARTS, WORKERS
from igw_extauth.settings import Settings
from igw_extauth.wire.front import GRACE_SECONDS, Listening

FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 5.0
STEADY_SECONDS = 10.0
"""A worker that lived so long died of something new."""
KILL_SECONDS = 1.0
"""Behind the grace; then a worker is killed."""

log = structlog.get_logger(__name__)


class Workers:
    """So many workers, over one keeper."""

    def __init__(self, settings: Settings, keeper: LocalKeeper, sockets: Listening) -> None:
        self._settings = settings
        self._keeper = keeper
        self._sockets = sockets
        self._ends: dict[int, WorkerEnd] = {}
        self._processes: dict[int, Process] = {}
        self._lives: list[asyncio.Task[None]] = []
        self._listened: list[asyncio.Event] = []
        self._past: sums.Families = ()
        self._stopping = asyncio.Event()

    @property
    def lack(self) -> str | None:
        """Say why checks are not answered; None when they are."""
        living = any(end.listening.is_set() for end in self._ends.values())
        return None if living else "no worker listens"

    def status(self) -> Mapping[str, Any]:
        """Give the workers' process ids, and whether they listen."""
        return {
            "workers": [
                {"pid": self._processes[number].pid, "listening": end.listening.is_set()}
                for number, end in sorted(self._ends.items())
            ]
        }

    async def start(self) -> None:
        """Start the workers, and wait until all listen."""
        self._listened = [asyncio.Event() for _ in range(self._settings.workers)]
        self._lives = [asyncio.create_task(self._keep(number)) for number in range(self._settings.workers)]
        await asyncio.gather(*(listened.wait() for listened in self._listened))

    async def forget(self, keys: frozenset[bytes]) -> bool:
        """Have all forget tokens; False when one does not confirm it in time."""
        ends = list(self._ends.values())
        return all(await asyncio.gather(*(end.forget(keys) for end in ends)))

    async def exposition(self) -> bytes:
        """Give what all count together, and this process with them, in Prometheus' text format."""
        await asyncio.gather(*(end.count() for end in self._ends.values()))
        told = [end.counted for end in self._ends.values()]
        return sums.exposition(sums.added([sums.families(), self._past, *told]))

    async def stop(self) -> None:
        """End the workers: what is under way in them gets `GRACE_SECONDS`."""
        self._stopping.set()
        self._sockets.http.close()
        self._sockets.grpc.close()
        self._signal(signal.SIGTERM)
        if not self._lives:
            return
        _, left = await asyncio.wait(self._lives, timeout=GRACE_SECONDS + KILL_SECONDS)
        if left:
            log.warning("workers_killed", workers=len(left))
            self._signal(signal.SIGKILL)
            await asyncio.wait(left)

    def _signal(self, signum: signal.Signals) -> None:
        for process in self._processes.values():
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signum)

    async def _keep(self, number: int) -> None:
        pause = FIRST_PAUSE_SECONDS
        now = asyncio.get_running_loop().time
        while not self._stopping.is_set():
            began = now()
            status = await self._lived(number)
            if self._stopping.is_set():
                return
            if now() - began >= STEADY_SECONDS:
                pause = FIRST_PAUSE_SECONDS
            log.error("worker_ended", number=number, status=status, again_in_seconds=pause)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._stopping.wait()
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
            RESTARTS.inc()

    async def _lived(self, number: int) -> int | str | None:
        """Run a worker to its end, and give its exit status, or why the system let none be started."""
        try:
            return await self._live(number)
        except OSError as error:
            return error.strerror

    async def _live(self, number: int) -> int:
        """Run a worker to its end, and give its exit status; negative is a signal's number. Raises OSError."""
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                process = self._processes[number] = await self._started(theirs)
            except OSError:
                ours.close()
                raise
        end = WorkerEnd(self._keeper)
        await end.connect(ours, self._begin(number))
        self._ends[number] = end
        if self._stopping.is_set():
            process.terminate()
        listening = asyncio.create_task(self._heard(number, end))
        status = await process.wait()
        if not listening.cancel():
            WORKERS.dec()
        self._bury(number)
        return status

    async def _started(self, pipe: socket.socket) -> Process:
        inherited = (pipe.fileno(), self._sockets.http.fileno(), self._sockets.grpc.fileno())
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "igw_extauth.host.worker", *map(str, inherited)),
            pass_fds=inherited,
            # What a worker is to know the pipe tells; the URL of a Redis, which may hold a password, is not of that.
            env={name: value for name, value in os.environ.items() if not name.startswith("IGW_")},
            stdin=asyncio.subprocess.DEVNULL,
            start_new_session=True,  # a Ctrl-C at the terminal is for this process alone
        )

    def _begin(self, number: int) -> messages.Begin:
        settings = self._settings
        level = logging.getLevelName(logging.getLogger().getEffectiveLevel()).lower()
        timeout_seconds = settings.authority_timeout_seconds + 1
        tls = None if settings.tls is None else _texts(settings.tls)
        return messages.Begin(
            self._keeper.secret, number, settings.cache_entries, timeout_seconds, level, tls
        )

    async def _heard(self, number: int, end: WorkerEnd) -> None:
        await end.listening.wait()
        self._listened[number].set()
        WORKERS.inc()

    def _bury(self, number: int) -> None:
        """Keep what a worker counted, as far as it told: sums never go back."""
        del self._processes[number]
        end = self._ends.pop(number)
        end.close()
        self._past = sums.added([self._past, sums.lasting(end.counted)])


def _texts(tls: ServerTls) -> tuple[str, str, str, str]:
    return str(tls.cert.absolute()), str(tls.key.absolute()), str(tls.ca.absolute()), tls.trust_domain
