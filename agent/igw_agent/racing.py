"""Several works of which the first that is over ends the others."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

_Given = TypeVar("_Given")


async def until_one_is_over(*works: Coroutine[Any, Any, _Given]) -> list[asyncio.Task[_Given]]:
    """Run all until one is over, and end the others; give those that were over by themselves, in the works' order."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return [task for task in tasks if task in done]
