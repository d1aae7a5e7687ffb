"""What the ledger keeps, and for how long: totals and what was seen, by clocks that may be wrong."""

from pathlib import Path

from igw_usage.ledger import Stored
from structlog.testing import capture_logs

from tests.unit.usage.lines import START, export, line
from tests.unit.usage.scene import Clock, asked, opened, swept, totals

MINUTE = 60
DAY = 86_400


async def test_retention(tmp_path: Path) -> None:
    """Minutes are dropped once they are too old, of every organisation; what was seen is known for a time only."""
    clock = Clock()
    async with opened(tmp_path, clock, retention_seconds=DAY, seen_seconds=7200) as ledger:
        await swept(ledger, export(line(1), line(2, organization="org-2"), line(3, organization="-")))
        clock.at += 7000
        await swept(ledger, export(line(7000)))
        assert ledger.rows.seen == 4
        clock.at += 300
        await swept(ledger, export(line(7300)))
        await swept(ledger)
        assert (ledger.rows.totals, ledger.rows.seen) == (5, 2)
        clock.at = START + DAY + 300
        await swept(ledger, export(line(DAY)))
        await swept(ledger)
        assert [item["key"] for item in (await asked(ledger))["items"]] == [None]
        assert (await totals(ledger))["requests"] == 3
        assert ledger.rows.totals == 3
        assert ledger.rows.dropped_totals == 0


async def test_old_minutes_go_a_day_at_once(tmp_path: Path) -> None:
    """However much is too old, others are not kept waiting for long, and a wrong clock can still be put right."""
    clock = Clock()
    async with opened(tmp_path, clock, retention_seconds=20 * DAY) as ledger:
        clock.at += 10 * DAY
        await ledger.export(export(*(line(number * DAY) for number in range(0, 10, 3))))
        clock.wrong = 30 * DAY
        left = []
        for _ in range(5):
            clock.at += 61
            await swept(ledger)
            left.append(ledger.rows.totals)
        assert left == [3, 2, 1, 0, 0]


async def test_what_was_seen_before_a_pause_is_known_after_it(tmp_path: Path) -> None:
    """An Envoy may have waited as long as the collector was away, and then sends again what was stored."""
    clock = Clock()
    async with opened(tmp_path, clock, seen_seconds=3600) as ledger:
        await swept(ledger, export(line(1)))
    clock.at += 3 * DAY
    async with opened(tmp_path, clock, seen_seconds=3600) as ledger:
        await swept(ledger, export(line(2)))
        clock.at += 120
        assert await swept(ledger, export(line(1))) == Stored(duplicates=1)


async def test_a_clock_that_is_set_makes_nothing_old(tmp_path: Path) -> None:
    """What was counted is known for as long as the process runs, whatever the machine's clock says meanwhile."""
    clock = Clock()
    async with opened(tmp_path, clock, seen_seconds=3600) as ledger:
        await swept(ledger, export(line(1)))
        clock.wrong = 30 * DAY
        clock.at += 61
        await swept(ledger, export(line(2)))
        assert await swept(ledger, export(line(1))) == Stored(duplicates=1)
        clock.wrong = -DAY
        clock.at += 3700
        await swept(ledger, export(line(3)))
        assert ledger.rows.seen == 1


async def test_rows_are_bounded(tmp_path: Path) -> None:
    """Beyond the bounds the oldest minutes, and what was seen longest ago, go first, and are counted."""
    clock = Clock()
    with capture_logs() as logs:
        await _bounded(tmp_path, clock)
    assert logs[-1] == {
        "event": "rows_dropped",
        "log_level": "warning",
        "totals": 4,
        "outbox": 0,
        "seen": 5,
    }


async def _bounded(tmp_path: Path, clock: Clock) -> None:
    async with opened(tmp_path, clock, totals=5, seen=4) as ledger:
        for number in range(9):
            organization = f"org-{number % 2}"
            await swept(ledger, export(line(number * MINUTE, organization=organization)))
            clock.at += 61
        await swept(ledger)
        items = (await asked(ledger, interval="minute"))["items"]
        assert [item["start"] for item in items] == [
            f"2023-11-14T22:{17 + number}:00Z" for number in range(5)
        ]
        rows = ledger.rows
        assert (rows.totals, rows.dropped_totals, rows.seen, rows.dropped_seen) == (5, 4, 4, 5)
        assert await swept(ledger, export(line(8 * MINUTE, organization="org-0"))) == Stored(duplicates=1)


async def test_what_no_envoy_tells_again_is_not_missed(tmp_path: Path) -> None:
    """Of what was seen, more goes than is told of: only what may still come again is counted as dropped."""
    clock = Clock()
    with capture_logs() as logs:
        async with opened(tmp_path, clock, seen=1, again_seconds=100) as ledger:
            for _ in range(2):
                await swept(ledger, export(line(int(clock.at - START)), line(int(clock.at - START) + 1)))
                clock.at += 101
            await swept(ledger, export(line(int(clock.at - START))))
            assert (ledger.rows.seen, ledger.rows.dropped_seen) == (1, 2)
    assert [log["seen"] for log in logs] == [1, 2]
