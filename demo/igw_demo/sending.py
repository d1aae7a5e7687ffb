"""A reply on its way to the client, as its request wished: late, in pieces, held, dropped, or an error instead."""

from collections.abc import Iterator
from dataclasses import dataclass

import msgspec
from igw_model.openai import ApiError

from igw_demo.answer import DONE, Event
from igw_demo.client import JSON, Client, HungUp, Refused
from igw_demo.usage import Document, Telling, Usage
from igw_demo.wishes import MAX_MILLISECONDS, Wishes


@dataclass(frozen=True, slots=True)
class Whole:
    """A reply of one document, and the usage that it tells."""

    document: Document
    usage: Usage | None = None


@dataclass(frozen=True, slots=True)
class Stream:
    """A reply of events."""

    events: Iterator[Event]


async def send(reply: Whole | Stream, wishes: Wishes, client: Client, telling: Telling) -> None:
    """Send a reply, and note what it told. Raises Refused, ClientGone and HungUp."""
    if wishes.delay_ms:
        await client.pause(wishes.delay_ms / 1000)
    if wishes.status is not None:
        message = f"The request asked for the status {wishes.status}."
        raise Refused(ApiError(wishes.status, "demo_error", message))
    if isinstance(reply, Stream) and wishes.drop_after != 0:
        await _stream(reply, wishes, client, telling)
    else:
        await _whole(reply, wishes, client, telling)


async def _whole(reply: Whole | Stream, wishes: Wishes, client: Client, telling: Telling) -> None:
    if wishes.drop_after is not None or isinstance(reply, Stream):
        raise HungUp
    if wishes.hold_after is not None:
        await _hold(client)
    await client.answer(200, JSON, msgspec.json.encode(reply.document), wishes.write_bytes)
    telling.usage = reply.usage


async def _stream(reply: Stream, wishes: Wishes, client: Client, telling: Telling) -> None:
    await client.start_stream()
    for event in reply.events:
        await _stop(wishes, client, telling.events)
        await client.event(event.data, wishes.write_bytes)
        telling.events += 1
        telling.words += event.words
        telling.usage = event.usage or telling.usage
        if event is not DONE:
            await client.pause(wishes.chunk_ms / 1000)
    await client.end_stream()


async def _stop(wishes: Wishes, client: Client, sent: int) -> None:
    """Go no further where the request wished that; also before the first event, when the head is sent."""
    if wishes.hold_after == sent:
        await _hold(client)
    if wishes.drop_after == sent:
        raise HungUp


async def _hold(client: Client) -> None:
    """Wait until the client leaves (ClientGone), but not for ever."""
    await client.pause(MAX_MILLISECONDS / 1000)
    raise HungUp
