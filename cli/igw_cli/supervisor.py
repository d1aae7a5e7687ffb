"""Child processes kept running: started, read, started again when they die, and all ended together.

No child outlives the supervisor, even one that is killed: each asks the kernel to be ended with its parent.
"""

import asyncio
import contextlib
import signal
import time
from collections.abc import Callable, Iterable, Mapping

from igw_ops.parent import end_with_parent

from igw_cli.ending import cause_of
from igw_cli.layout import Child

STOP_SECONDS = 3.0
FIRST_PAUSE_SECONDS = 0.2
LONGEST_PAUSE_SECONDS = 5.0
STEADY_SECONDS = 30.0
LONGEST_LINE_BYTES = 1024 * 1024

Show = Callable[[str, str], None]
"""Takes a process's name and one line of its output, or of what there is to say about it."""


class Supervisor:
    """Keeps children running until `stop`; `changed` hears of every new set of process ids."""

    def __init__(self, show: Show, changed: Callable[[Mapping[str, int]], None]) -> None:
        self._show = show
        self._changed = changed
        self._running: dict[str, asyncio.subprocess.Process] = {}
        self._keepers: list[asyncio.Task[None]] = []
        self._stopping = asyncio.Event()

    @property
    def pids(self) -> dict[str, int]:
        """Give the process ids of the children by name."""
        return {name: process.pid for name, process in self._running.items()}

    def start(self, children: Iterable[Child]) -> None:
        """Start children and keep them running."""
        self._keepers += [asyncio.create_task(self._keep(child)) for child in children]

    async def stop(self) -> None:
        """End every child: ask first, kill what has not gone in time."""
        self._stopping.set()
        self._signal(signal.SIGTERM)
        _, pending = await asyncio.wait(self._keepers, timeout=STOP_SECONDS) if self._keepers else ((), ())
        if pending:
            self._signal(signal.SIGKILL)
            await asyncio.wait(pending, timeout=1)

    def _signal(self, signum: signal.Signals) -> None:
        for process in self._running.values():
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signum)

    async def _keep(self, child: Child) -> None:
        pause = FIRST_PAUSE_SECONDS
        while not self._stopping.is_set():
            began = time.monotonic()
            cause = await self._run(child)
            if self._stopping.is_set():
                return
            if time.monotonic() - began > STEADY_SECONDS:
                pause = FIRST_PAUSE_SECONDS
            self._show(child.name, f"ended ({cause}); starting it again in {pause:.1f} s")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._stopping.wait()
            pause = min(pause * 2, LONGEST_PAUSE_SECONDS)

    async def _run(self, child: Child) -> str:
        """Run a child to its end, and give the cause of that."""
        try:
            process = await _started(child)
        except OSError as error:
            return str(error)
        self._running[child.name] = process
        self._changed(self.pids)
        if self._stopping.is_set():
            process.terminate()
        await self._follow(child.name, process)
        status = await process.wait()
        del self._running[child.name]
        return cause_of(status)

    async def _follow(self, name: str, process: asyncio.subprocess.Process) -> None:
        if process.stdout is None:
            return
        while True:
            try:
                line = await process.stdout.readline()
            except ValueError:  # a line longer than the limit; what was read of it is gone
                continue
            if not line:
                return
            self._show(name, line.decode(errors="replace").rstrip())


async def _started(child: Child) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *child.argv,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env=child.environment,
        limit=LONGEST_LINE_BYTES,
        start_new_session=True,  # a Ctrl-C at the terminal is for the supervisor alone
        preexec_fn=end_with_parent,
    )
