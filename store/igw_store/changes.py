"""A store's changes for as long as somebody asks: through times in which the store cannot say."""

import asyncio
from collections.abc import AsyncGenerator

import structlog

from igw_store.store import Change, Store, UnavailableError

log = structlog.get_logger(__name__)

RETRY_SECONDS = 1.0


async def changes(store: Store) -> AsyncGenerator[Change, None]:
    """Give the store's changes; the whole state again after a time in which it could not say."""
    while True:
        try:
            async for change in store.watch():
                yield change
        except UnavailableError as error:
            log.error("the store cannot be read now", error=str(error))  # noqa: TRY400 - it says it all
            await asyncio.sleep(RETRY_SECONDS)
        else:
            raise RuntimeError("the store ended its watch")
