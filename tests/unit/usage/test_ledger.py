"""The ledger: each request counted once, on disk before it is answered, and bounded."""

import asyncio
import sqlite3
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from igw_usage import ledger as ledgers
from igw_usage import record as reads
from igw_usage import storing
from igw_usage.database import FILE, CannotOpenError, Database
from igw_usage.ledger import FullError, Stored, UnavailableError
from igw_usage.otlp import NotUnderstoodError
from igw_usage.outbox import Depth
from igw_usage.record import Record

from tests.unit.usage.lines import START, Line, export, line, read, usage
from tests.unit.usage.scene import asked, opened, sums, totals

MINUTE = 60


async def test_counted_once(tmp_path: Path) -> None:
    """An export that comes again changes nothing, and what is new in it is counted."""
    async with opened(tmp_path) as ledger:
        first = await ledger.export(export(line(1), line(2)))
        second = await ledger.export(export(line(2), line(3), line(3), line(4, gateway="-")))
        assert first == Stored((read(line(1)), read(line(2))))
        assert second == Stored((read(line(3)),), duplicates=2, unusable=1)
        assert await totals(ledger) == sums([read(line(number)) for number in (1, 2, 3)])


async def test_it_outlives_its_process(tmp_path: Path) -> None:
    """What was counted is there, and known, when the file is opened again."""
    async with opened(tmp_path) as ledger:
        await ledger.export(export(line(1, reports="true")))
    async with opened(tmp_path) as ledger:
        assert await ledger.export(export(line(1, reports="true"))) == Stored(duplicates=1)
        assert await totals(ledger) == sums([read(line(1))])
        assert (ledger.rows.totals, ledger.rows.outbox, ledger.rows.seen) == (1, 1, 1)


USAGES = st.builds(
    usage,
    st.integers(0, 1000),
    st.integers(0, 1000),
    streamed=st.booleans(),
    whole=st.booleans(),
    cached_tokens=st.none() | st.integers(0, 100),
)
REQUESTS = st.lists(
    st.fixed_dictionaries(
        {
            "gateway": st.sampled_from(["gw-1", "gw-2"]),
            "model": st.sampled_from(["small", "large", "-"]),
            "project": st.sampled_from(["-", "team/a", "team/b"]),
            "status": st.sampled_from(["200", "200", "500", "0"]),
            "usage": USAGES,
            "reports": st.sampled_from(["true", "-"]),
        }
    ),
    max_size=12,
)


@st.composite
def histories(draw: st.DrawFn) -> tuple[Sequence[Line], Sequence[Sequence[Line]]]:
    """Draw requests, and exports in which each stands at least once, in any order."""
    lines = [line(number * 7, **said) for number, said in enumerate(draw(REQUESTS))]
    told = draw(
        st.permutations([*lines, *(draw(st.lists(st.sampled_from(lines), max_size=20)) if lines else [])])
    )
    cuts = sorted(draw(st.lists(st.integers(0, len(told)), max_size=5)))
    bounds = [0, *cuts, len(told)]
    return lines, [told[start:end] for start, end in pairwise(bounds)]


@given(histories(), st.booleans())
@settings(max_examples=60, deadline=None)
def test_any_order_and_repetition_give_the_same(
    history: tuple[Sequence[Line], Sequence[Sequence[Line]]],
    together: bool,  # noqa: FBT001
) -> None:
    """However often and in whatever parts requests are told of, one by one or at once, they count once."""
    lines, told = history

    async def played(folder: Path) -> None:
        async with opened(folder) as ledger:
            if together:
                await asyncio.gather(*(ledger.export(export(*part)) for part in told))
            else:
                for part in told:
                    await ledger.export(export(*part))
            records = [read(said) for said in lines]
            assert await totals(ledger) == sums(records)
            for gateway in ("gw-1", "gw-2"):
                of = [record for record in records if record.gateway == gateway]
                assert await totals(ledger, gatewayId=gateway) == sums(of)
            assert ledger.rows.outbox == sum(record.reports for record in records)
            assert ledger.rows.totals == len({_row(said) for said in lines})

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(played(Path(folder)))


def _row(said: Line) -> tuple[int, ...] | tuple[str | int, ...]:
    return (int(said["start"][:10]) // MINUTE, said["gateway"], said["model"], said["project"])


async def test_one_that_is_no_export_harms_no_other(tmp_path: Path) -> None:
    """It is refused for good; those that wait with it are stored."""
    async with opened(tmp_path) as ledger:
        waiting = [ledger.export(message) for message in (export(line(1)), b"\xff", export(line(2)))]
        done = await asyncio.gather(*waiting, return_exceptions=True)
        assert [type(one) for one in done] == [Stored, NotUnderstoodError, Stored]
        assert (await totals(ledger))["requests"] == 2


async def test_what_waits_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An export beyond the bound is refused at once; there is room again when others are on disk."""
    message = export(line(1))
    monkeypatch.setattr(ledgers, "MAX_WAITING_BYTES", len(message) * 3 // 2)
    async with opened(tmp_path) as ledger:
        first = ledger.export(message)
        with pytest.raises(FullError):
            ledger.export(export(line(2)))
        assert await first == Stored((read(line(1)),))
        assert await ledger.export(export(line(2))) == Stored((read(line(2)),))
        assert ledger.waiting_bytes == 0


async def test_a_full_disk(tmp_path: Path) -> None:
    """What is not on disk is not answered as stored, nor half counted; it is taken once there is room."""
    async with opened(tmp_path) as ledger:
        await ledger.export(export(line(0)))
        (pages,) = ledger._connection.execute("PRAGMA page_count").fetchone()
        ledger._connection.execute(f"PRAGMA max_page_count = {pages}")
        many = export(*(line(number, principal=f"{number}" * 50, reports="true") for number in range(1, 400)))
        with pytest.raises(UnavailableError, match="full"):
            await ledger.export(many)
        assert "full" in str(ledger.failure)
        assert (await totals(ledger))["requests"] == 1
        assert (ledger.rows.totals, ledger.rows.outbox, ledger.rows.seen) == (1, 0, 1)
        ledger._connection.execute("PRAGMA max_page_count = 1000000")
        assert len((await ledger.export(many)).new) == 399
        assert str(ledger.failure) == "None"
        assert (ledger.rows.outbox, ledger.rows.seen) == (399, 400)


async def test_a_line_that_breaks_us_is_only_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever waits is answered, whatever is wrong."""

    def record(said: Line, *rest: Any) -> Record | None:
        return 1 // 0 if said["model"] == "bad" else reads.record(said, *rest)  # type: ignore[return-value]

    monkeypatch.setattr(ledgers, "record", record)
    async with opened(tmp_path) as ledger:
        waiting = [ledger.export(export(line(n, model=model))) for n, model in enumerate(("a", "bad", "c"))]
        done = await asyncio.gather(*waiting, return_exceptions=True)
        assert [type(one) for one in done] == [Stored, ZeroDivisionError, Stored]
        assert ledger.waiting_bytes == 0


async def test_an_error_of_ours_is_only_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An export that cannot be stored fails alone, whatever shares its transaction."""
    stored = storing.store

    def store(connection: sqlite3.Connection, given: Sequence[Sequence[Record]], *rest: Any) -> object:
        if any(record.model == "bad" for records in given for record in records):
            raise ZeroDivisionError
        return stored(connection, given, *rest)

    monkeypatch.setattr(ledgers, "store", store)
    async with opened(tmp_path) as ledger:
        waiting = [ledger.export(export(line(n, model=model))) for n, model in enumerate(("a", "bad", "c"))]
        done = await asyncio.gather(*waiting, return_exceptions=True)
        assert [type(one) for one in done] == [Stored, ZeroDivisionError, Stored]
        assert (await totals(ledger))["requests"] == 2


async def test_without_an_outbox(tmp_path: Path) -> None:
    """Where there is nobody to report to, nothing is kept for it."""
    async with opened(tmp_path, reports=False) as ledger:
        await ledger.export(export(line(1, reports="true")))
        assert (ledger.rows.outbox, ledger.rows.totals) == (0, 1)


async def test_one_process_at_a_time(tmp_path: Path) -> None:
    """Two that report from one outbox would report twice."""
    async with opened(tmp_path):
        with pytest.raises(CannotOpenError, match="in use by another collector"):
            async with opened(tmp_path):
                pass


def _newer(folder: Path) -> None:
    with sqlite3.connect(folder / FILE) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()


def _other(folder: Path) -> None:
    (folder / FILE).write_bytes(b"no database" * 1000)


def _file(folder: Path) -> None:
    folder.rmdir()
    folder.write_text("")


@pytest.mark.parametrize(
    ("spoil", "text"),
    [(_newer, "newer igw"), (_other, "not a database"), (_file, "cannot hold")],
)
async def test_ledgers_of_no_use(tmp_path: Path, spoil: object, text: str) -> None:
    """A file that is not ours, or of a later version, is left alone and named."""
    folder = tmp_path / "state"
    folder.mkdir()
    spoil(folder)  # type: ignore[operator]
    with pytest.raises(CannotOpenError, match=text):
        async with opened(folder):
            pass


async def test_a_commit_that_fails_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits to be reported does so still, and is known to."""
    async with opened(tmp_path) as ledger:
        await ledger.export(export(line(1, reports="true")))
        batch = await ledger.next_batch(1, 0, "batch")
        assert batch is not None
        before = (ledger.rows, ledger.depth)

        @contextmanager
        def committed(connection: sqlite3.Connection) -> Iterator[None]:
            connection.execute("BEGIN IMMEDIATE")
            yield
            connection.execute("ROLLBACK")
            raise sqlite3.OperationalError("disk I/O error")

        with monkeypatch.context() as patch:
            patch.setattr(ledgers, "_committed", committed)
            with pytest.raises(UnavailableError, match="disk I/O error"):
                await ledger.set_aside(batch.id, 400)
        assert (ledger.rows, ledger.depth) == before
        assert await ledger.next_batch(1, 0, "other") == batch


async def test_much_that_is_set_aside_slows_nothing(tmp_path: Path) -> None:
    """However many reports were refused, no statement of a transaction reads them all."""
    async with opened(tmp_path) as ledger:
        await ledger.export(export(*(line(number, reports="true") for number in range(2000))))
        for number in range(1000):
            batch = await ledger.next_batch(1, 0, f"batch-{number}")
            assert batch is not None
            await ledger.set_aside(batch.id, 400)
        steps: list[None] = []
        ledger._connection.set_progress_handler(lambda: steps.append(None), 10)
        await ledger.export(export(line(3000, reports="true")))
        await ledger.next_batch(1, 0, "next")
        ledger._connection.set_progress_handler(None, 10)
        assert ledger.depth == Depth(1001, START + 60.0)
        assert len(steps) < 100


async def test_a_start_reads_no_table(tmp_path: Path) -> None:
    """How many rows there are is written down with them: to count ten million would take minutes."""
    async with opened(tmp_path) as ledger:
        await ledger.export(export(*(line(60 * number, reports="true") for number in range(1000))))
        rows = ledger.rows
        assert (rows.totals, rows.outbox, rows.seen) == (1000, 1000, 1000)
    with closing(Database(tmp_path)) as database:
        steps: list[None] = []
        database.connection.set_progress_handler(lambda: steps.append(None), 10)
        assert storing.held(database.connection) == rows
        assert len(steps) < 10


async def test_an_end_waits_for_no_query(tmp_path: Path) -> None:
    """Those that wait are not begun, and those that run are broken off."""

    def forever(connection: sqlite3.Connection) -> None:
        connection.execute(
            "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT SUM(i) FROM n"
        )

    async with opened(tmp_path) as ledger:
        asking = [asyncio.create_task(ledger.read(forever)) for _ in range(ledgers.READERS * 2)]
        await asyncio.sleep(0.1)
    done = await asyncio.wait_for(asyncio.gather(*asking, return_exceptions=True), 5)
    assert {UnavailableError} <= {type(one) for one in done} <= {UnavailableError, asyncio.CancelledError}


async def test_queries_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only so many are asked at once, and one that takes too long ends."""
    monkeypatch.setattr(ledgers, "MAX_READS", 1)
    monkeypatch.setattr(ledgers, "READ_SECONDS", -1)
    monkeypatch.setattr(ledgers, "_STEPS", 1)
    async with opened(tmp_path) as ledger:
        done = await asyncio.gather(asked(ledger), asked(ledger), return_exceptions=True)
        assert [type(one) for one in done] == [UnavailableError, FullError]
