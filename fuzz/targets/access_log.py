"""Envoy's access log as extauth reads it: any message is entries or refused, and what they say can be passed on."""

from envoy.service.accesslog.v3.als_pb2 import StreamAccessLogsMessage
from google.protobuf.message import DecodeError
from igw_extauth.host.messages import FROM_WORKER, Frames, Report, frame, reported, reporting
from igw_extauth.keeper import Ended, Event
from igw_extauth.wire.access_log import MAX_TEXT, MOST_TOKENS, events

WATCHED = ("igw_extauth",)
MAX_BYTES = 4096


def check(data: bytes) -> None:
    """Read a message, and pass on what it says as a worker does."""
    try:
        message = StreamAccessLogsMessage.FromString(data)
    except DecodeError:
        return
    said = events(message)
    assert len(said) <= len(message.http_logs.log_entry)
    for event in said:
        _judge(event)
    if all(map(_is_unicode, said)):
        assert _passed(said) == said


def _judge(event: Event) -> None:
    assert event.project
    assert len(event.project) <= MAX_TEXT
    assert 0 < len(event.lease) <= MAX_TEXT
    if isinstance(event, Ended):
        assert 0 <= event.tokens <= 2 * MOST_TOKENS


def _is_unicode(event: Event) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in event.project)


def _passed(said: list[Event]) -> list[Event]:
    """Give events behind the socket to the keeper."""
    (content,) = Frames().take(frame(reporting(said)))
    message = FROM_WORKER.decode(content)
    assert isinstance(message, Report)
    return reported(message)
