"""One process of ours: run a coroutine on uvloop until it ends or SIGINT or SIGTERM asks it to.

The coroutine gets an event that is set when the process is asked to stop.
"""

import asyncio
import signal
from collections.abc import Awaitable, Callable

import uvloop


def run(main: Callable[[asyncio.Event], Awaitable[None]]) -> None:
    """Run `main(stop)` to its end; signals set `stop`."""
    uvloop.run(_with_signals(main))


async def _with_signals(main: Callable[[asyncio.Event], Awaitable[None]]) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signum in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(signum, stop.set)
    await main(stop)
