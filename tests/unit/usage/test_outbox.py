"""Reports that are not taken: refused ones, a full outbox, tokens, redirects, and errors of our own."""

import asyncio
from pathlib import Path

import pytest
from igw_usage.delivery import Verdict
from igw_usage.ledger import UnavailableError
from igw_usage.outbox import Batch, Depth
from igw_usage.reports import Attempt, Pace, Sender
from starlette.responses import RedirectResponse, Response
from structlog.testing import capture_logs

from tests.unit.usage.lines import START
from tests.unit.usage.receiver import Receiver, receiving, reported, sending, world
from tests.unit.usage.scene import Clock, opened


async def test_a_refused_report_holds_up_no_other(tmp_path: Path) -> None:
    """It is set aside, told of and counted, and goes out again, as it was, when that is asked for."""
    answers = iter([Response(status_code=422), None, None])
    receiver, clock = Receiver(meets=lambda: next(answers)), Clock()
    async with (
        opened(tmp_path, clock) as ledger,
        receiving(receiver) as url,
        sending(ledger, url, clock) as (sender, told),
    ):
        await ledger.export(reported(*range(6)))
        with capture_logs() as logs:
            assert [await sender.step() for _ in range(3)] == [0, 0, 1]
        assert receiver.numbers == [[0, 1, 2], [3, 4, 5]]
        assert told == [(Verdict.REFUSED, 3), (Verdict.DELIVERED, 3)]
        assert (ledger.rows.outbox, ledger.depth) == (3, Depth(0, None))
        assert logs == [
            {"event": "report_refused", "log_level": "error", "batch": "batch-0", "records": 3, "status": 422}
        ]
        assert await ledger.send_again() == 1
        assert ledger.depth.waiting == 3
        assert await sender.step() == 0
        assert receiver.seen[2] == receiver.seen[0]
        assert ledger.rows.outbox == 0


async def test_the_outbox_is_bounded(tmp_path: Path) -> None:
    """What is set aside goes first, then the oldest; what is being sent stays as it is."""
    answers = iter([Response(status_code=400), Response(status_code=503), *(None for _ in range(9))])
    receiver, clock = Receiver(meets=lambda: next(answers)), Clock()
    async with (
        opened(tmp_path, clock, outbox=8) as ledger,
        receiving(receiver) as url,
        sending(ledger, url, clock) as (sender, _),
    ):
        await ledger.export(reported(*range(8)))
        assert await sender.step() == 0
        assert await sender.step() > 0
        assert (ledger.rows.outbox, ledger.depth.waiting) == (8, 5)
        await ledger.export(reported(8))
        assert (ledger.rows.outbox, ledger.rows.dropped_outbox, ledger.depth.waiting) == (6, 3, 6)
        await ledger.export(reported(*range(9, 13)))
        assert (ledger.rows.outbox, ledger.rows.dropped_outbox) == (8, 5)
        while ledger.rows.outbox:
            clock.at += 10 + await sender.step()
    assert receiver.numbers[1:] == [[3, 4, 5], [3, 4, 5], [8, 9, 10], [11, 12]]


@pytest.mark.parametrize(
    ("headers", "least", "most"),
    [({"retry-after": "77"}, 77, 77), ({"retry-after": "99999"}, 3600, 3600), ({"retry-after": "x"}, 0.5, 1)],
    ids=["seconds", "too-long", "nonsense"],
)
async def test_retry_after_is_obeyed(
    tmp_path: Path, headers: dict[str, str], least: float, most: float
) -> None:
    """Up to an hour."""
    receiver, clock = Receiver(meets=lambda: Response(status_code=429, headers=headers)), Clock()
    async with (
        opened(tmp_path, clock) as ledger,
        receiving(receiver) as url,
        sending(ledger, url, clock) as (sender, _),
    ):
        await ledger.export(reported(1, 2, 3))
        assert least <= await sender.step() <= most


async def test_redirects_are_not_followed(tmp_path: Path) -> None:
    """Whoever redirects would be given the token."""
    receiver, clock = Receiver(meets=lambda: RedirectResponse("/reports")), Clock()
    async with (
        opened(tmp_path, clock) as ledger,
        receiving(receiver) as url,
        sending(ledger, url, clock) as (sender, told),
    ):
        await ledger.export(reported(1, 2, 3))
        await sender.step()
        assert (len(receiver.seen), told) == (1, [(Verdict.FAILED, 3)])


async def test_a_token_may_be_replaced(tmp_path: Path) -> None:
    """It is read for each attempt; that it is missing or refused loses nothing, and no log has it."""
    receiver, clock, token = Receiver(), Clock(), tmp_path / "token"
    receiver.meets = lambda: None if receiver.seen[-1][2] == "Bearer new" else Response(status_code=401)
    async with (
        opened(tmp_path, clock) as ledger,
        receiving(receiver) as url,
        sending(ledger, url, clock, token) as (sender, told),
    ):
        await ledger.export(reported(1, 2, 3))
        with capture_logs() as logs:
            await sender.step()
            for content in ("SECRET", "bad\nSECRET", "bad SECRET é", "new"):
                token.write_text(content)
                clock.at += 100
                await sender.step()
    assert [verdict for verdict, _ in told] == [*[Verdict.FAILED] * 4, Verdict.DELIVERED]
    assert [log["event"] for log in logs] == [*["reports_unavailable"] * 4, "reports_available"]
    assert [log.get("reason") for log in logs] == [
        "reports_token_file: No such file or directory",
        "status 401",
        *["reports_token_file: must hold one token, of visible ASCII, and nothing else"] * 2,
        None,
    ]
    assert "SECRET" not in str(logs)


async def test_what_is_not_noted_is_not_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A report that was taken while the disk was full comes again: its records are counted then, and once."""
    receiver, clock = Receiver(), Clock()
    async with (
        opened(tmp_path, clock) as ledger,
        receiving(receiver) as url,
        sending(ledger, url, clock) as (sender, told),
    ):
        await ledger.export(reported(1, 2, 3))

        async def full(_: str) -> None:
            raise UnavailableError("the disk is full")

        with monkeypatch.context() as patch:
            patch.setattr(ledger, "delivered", full)
            with pytest.raises(UnavailableError):
                await sender.step()
        assert await sender.step() == 0
    assert told == [(Verdict.DELIVERED, 3)]
    assert receiver.seen[0] == receiver.seen[1]


async def test_an_outage_is_told_of_though_the_clock_was_set_back(tmp_path: Path) -> None:
    """Else nothing would be said until the time has come again."""
    clock = Clock()
    async with (
        opened(tmp_path, clock) as ledger,
        sending(ledger, "http://127.0.0.1:1/", clock) as (sender, _),
    ):
        await ledger.export(reported(1, 2, 3))
        with capture_logs() as logs:
            await sender.step()
            clock.wrong = -86_400
            await sender.step()
    assert [log["event"] for log in logs] == ["reports_unavailable"] * 2


async def test_nobody_there(tmp_path: Path) -> None:
    """It is tried again and told once a minute, not each time."""
    clock = Clock()
    async with (
        opened(tmp_path, clock) as ledger,
        sending(ledger, "http://127.0.0.1:1/", clock) as (sender, told),
    ):
        await ledger.export(reported(1, 2, 3))
        with capture_logs() as logs:
            for _ in range(5):
                clock.at += await sender.step()
    assert told == [(Verdict.FAILED, 3)] * 5
    assert logs == [
        {
            "event": "reports_unavailable",
            "log_level": "warning",
            "reason": "ConnectError",
            "failures": 1,
            "waiting": 3,
        }
    ]


async def test_it_goes_on_whatever_the_ledger_says(tmp_path: Path) -> None:
    """A disk that is full for a while, or an error of ours, ends no sender."""
    clock = Clock()
    errors: list[Exception] = [UnavailableError("the disk is full"), ZeroDivisionError()]
    sent: list[str] = []

    async def send(batch: Batch) -> Attempt:
        sent.append(batch.id)
        if errors:
            raise errors.pop()
        return Attempt(Verdict.DELIVERED, 200)

    async with opened(tmp_path, clock) as ledger:
        await ledger.export(reported(1, 2, 3))
        sender = Sender(ledger, send, Pace(3, 10), lambda *_: None, world(clock, most=START + 600))
        with capture_logs(), pytest.raises(asyncio.CancelledError):
            await sender.run()
        assert sent == ["batch-0"] * 3
        assert ledger.rows.outbox == 0


async def test_what_was_set_aside_goes_again_oldest_first(tmp_path: Path) -> None:
    """Before what is new, and each as it was."""
    statuses = iter([400, 413, 204, 204, 204])
    receiver, clock = Receiver(meets=lambda: Response(status_code=next(statuses))), Clock()
    async with (
        opened(tmp_path, clock) as ledger,
        receiving(receiver) as url,
        sending(ledger, url, clock) as (sender, _),
    ):
        await ledger.export(reported(*range(6)))
        assert [await sender.step() for _ in range(2)] == [0, 0]
        await ledger.export(reported(6, 7, 8))
        assert await ledger.send_again() == 2
        assert [await sender.step() for _ in range(3)] == [0, 0, 0]
        assert receiver.seen[2:4] == receiver.seen[:2]
        assert receiver.numbers[4] == [6, 7, 8]
        assert ledger.rows.outbox == 0
