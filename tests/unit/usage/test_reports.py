"""Reports: every record once, oldest first, whatever fails, for as long as it fails."""

import asyncio
import json
from pathlib import Path

from igw_usage.delivery import Verdict
from igw_usage.reports import Endpoint, Pace, Sender, World
from starlette.responses import Response

from tests.unit.usage.lines import export, line, read, usage
from tests.unit.usage.receiver import Receiver, receiving, reported, sending
from tests.unit.usage.scene import Clock, opened, until

SECRET = "TOKEN-SECRET"


async def test_a_report(tmp_path: Path) -> None:
    """A report is JSON, with its key and the bearer token; numbers and names are the record's."""
    receiver, clock, token = Receiver(), Clock(), tmp_path / "token"
    token.write_text(f"{SECRET}\n")
    async with (
        opened(tmp_path, clock) as ledger,
        receiving(receiver) as url,
        sending(ledger, url, clock, token) as (sender, told),
    ):
        said = line(
            3,
            reports="true",
            project="team/a%20b",
            entity="team",
            usage=usage(cached_tokens=2, streamed=True),
        )
        await ledger.export(export(said, line(4)))
        clock.at += 10
        assert await sender.step() == 0
    ((key, body, authorization),) = receiver.seen
    assert (key, authorization) == ("batch-0", f"Bearer {SECRET}")
    assert json.loads(body) == {
        "batch": "batch-0",
        "records": [
            {
                "id": read(said).key,
                "startedAt": "2023-11-14T22:13:23.000123Z",
                "gatewayId": "gw-1",
                "deploymentId": "dep-1",
                "model": "small",
                "organizationId": "org-1",
                "principal": "ann",
                "entity": "team",
                "project": "team/a b",
                "requestId": "id-3",
                "operation": "chat",
                "status": 200,
                "streamed": True,
                "partial": False,
                "promptTokens": 5,
                "completionTokens": 7,
                "cachedTokens": 2,
                "totalTokens": 12,
                "durationSeconds": 1.5,
                "timeToFirstByteSeconds": 0.25,
            }
        ],
    }
    assert told == [(Verdict.DELIVERED, 1)]


async def test_when_a_report_is_made(tmp_path: Path) -> None:
    """At once when there are enough records, else when the oldest has waited; oldest first."""
    receiver, clock = Receiver(), Clock()
    async with (
        opened(tmp_path, clock) as ledger,
        receiving(receiver) as url,
        sending(ledger, url, clock) as (sender, _),
    ):
        assert await sender.step() == 1
        await ledger.export(reported(1, 2))
        clock.at += 9.9
        assert await sender.step() == 1
        await ledger.export(reported(3, 4))
        assert await sender.step() == 0
        assert receiver.numbers == [[1, 2, 3]]
        assert await sender.step() == 1
        clock.at += 10.1
        assert await sender.step() == 0
        assert receiver.numbers == [[1, 2, 3], [4]]
        assert ledger.rows.outbox == 0
        assert ledger.oldest_seconds() == 0


async def test_a_clock_that_was_set_back_holds_up_no_report(tmp_path: Path) -> None:
    """What was written by a clock that ran ahead does not wait until the time has come again."""
    receiver, clock = Receiver(), Clock()
    async with opened(tmp_path, clock) as ledger:
        await ledger.export(reported(1))
    clock.at -= 86_400
    async with (
        opened(tmp_path, clock) as ledger,
        receiving(receiver) as url,
        sending(ledger, url, clock) as (sender, _),
    ):
        assert await sender.step() == 0
    assert receiver.numbers == [[1]]


async def test_the_same_again_until_it_is_taken(tmp_path: Path) -> None:
    """A report keeps its id and its bytes, whatever comes meanwhile, and over a restart."""
    receiver, clock = Receiver(meets=lambda: Response(status_code=503)), Clock()
    async with receiving(receiver) as url:
        async with opened(tmp_path, clock) as ledger, sending(ledger, url, clock) as (sender, _):
            await ledger.export(reported(1, 2))
            clock.at += 10
            assert 0.5 <= await sender.step() <= 1
            await ledger.export(reported(3, 4))
            assert 1 <= await sender.step() <= 2
        async with opened(tmp_path, clock) as ledger, sending(ledger, url, clock) as (sender, _):
            await sender.step()
            receiver.meets = lambda: None
            assert [await sender.step() for _ in range(2)] == [0, 1]
        assert len(set(receiver.seen)) == 1
        assert receiver.numbers == [[1, 2]] * 4
        assert (await _left(tmp_path)) == 2


async def _left(folder: Path) -> int:
    async with opened(folder) as ledger:
        return ledger.rows.outbox


async def test_a_day_of_outage(tmp_path: Path) -> None:
    """Records that came over a day in which nothing was taken are all reported once, in order, and nothing is lost."""
    receiver, clock = Receiver(), Clock()
    began = clock.at
    receiver.meets = lambda: Response(status_code=503) if clock.at < began + 86_400 else None
    async with (
        opened(tmp_path, clock) as ledger,
        receiving(receiver) as url,
        sending(ledger, url, clock, records=50) as (sender, told),
    ):
        number = 0
        while clock.at < began + 86_400 + 1200 or ledger.rows.outbox:
            if clock.at < began + 86_400:
                await ledger.export(reported(*range(number, number + 10)))
                number += 10
            clock.at += await sender.step()
    assert receiver.reports.document() == {
        "reports": number // 50 + bool(number % 50),
        "repeated": 0,
        "refused": 0,
        "records": number,
        "repeatedRecords": 0,
        "totals": [
            {
                "gatewayId": "gw-1",
                "project": "team/a",
                "model": "small",
                "requests": number,
                "errors": 0,
                "streamed": 0,
                "partial": 0,
                "promptTokens": 5 * number,
                "completionTokens": 7 * number,
                "cachedTokens": 0,
                "totalTokens": 12 * number,
            }
        ],
    }
    failed = [verdict for verdict, _ in told].count(Verdict.FAILED)
    assert 288 < failed < 700
    taken = receiver.numbers[failed:]
    assert [one for report in taken for one in report] == list(range(number))


async def test_the_default_world_is_this_one(tmp_path: Path) -> None:
    """Ids are random, and time is time."""
    receiver = Receiver()
    async with opened(tmp_path, Clock(0)) as ledger, receiving(receiver) as url:
        endpoint = Endpoint(url, None, World().now)
        running_sender = asyncio.create_task(
            Sender(ledger, endpoint.send, Pace(2, 0.05), lambda *_: None, World()).run()
        )
        await ledger.export(reported(1, 2))
        await until(lambda: len(receiver.seen) == 1)
        await ledger.export(reported(3, 4))
        await until(lambda: len(receiver.seen) == 2)
        running_sender.cancel()
        await endpoint.aclose()
    keys = {key for key, _, _ in receiver.seen}
    assert len(keys) == 2
    assert {len(key) for key in keys} == {32}
