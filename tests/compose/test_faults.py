"""Containers are scaled, killed, frozen, restarted and replaced while clients count."""

import asyncio
import time

import pytest

from tests.compose.counting import load
from tests.compose.faults import FAULTS, Fault, Row, documented, may_fail
from tests.compose.stack import Stack, eventually, serving

BEFORE_SECONDS = 0.5
AFTER_SECONDS = 0.5
BACK_SECONDS = 45.0
FOUND_SECONDS = 6.0
"""From what is back, as the API says, to the last Envoy that has found it: by DNS, and then by its health check."""


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
@pytest.mark.timeout(180, func_only=True)
async def test_what_fails_and_for_how_long(stack: Stack, rows: list[Row], fault: Fault) -> None:
    """No request fails but for those that the table allows, and all is well again afterwards."""
    addresses = stack.envoys()
    token = stack.token if fault.host == "localhost" else stack.wandb_key
    async with load(
        lambda: addresses, token, stack.trust, host=fault.host, model=fault.model, form=fault.form
    ) as tally:
        await asyncio.sleep(BEFORE_SECONDS)
        await asyncio.to_thread(fault.do, stack)
        await asyncio.sleep(fault.hold)
        await asyncio.to_thread(fault.mend, stack)
        addresses[:] = await asyncio.to_thread(stack.envoys)
        await asyncio.to_thread(eventually, lambda: serving(stack), BACK_SECONDS, stack.logs)
        settled = time.time() + (AFTER_SECONDS if fault.allowed is not None else FOUND_SECONDS)
        await asyncio.sleep(settled + AFTER_SECONDS - time.time())
    row = Row(fault, len(tally.outcomes), len(tally.failures), tally.failing_seconds, tally.slowest)
    rows.append(row)
    late = [outcome for outcome in tally.failures if outcome.sent > settled]
    assert not late, (row, tally.reasons)
    assert fault.allowed is None or row.failed <= fault.allowed, (row, tally.reasons, stack.logs())
    assert row.slowest <= fault.slowest, row
    assert row.requests - row.failed > 50, row


def test_the_table_is_that_of_these_tests() -> None:
    """docs/deploy.md promises what is tested here, fault by fault."""
    assert documented() == [(fault.name, may_fail(fault)) for fault in FAULTS]
