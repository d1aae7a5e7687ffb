"""Messages of the management API over Connect and gRPC: any bytes are a document or refused, and unpack within bounds.

The first byte names the method and how it is asked: as protobuf or JSON, plain or gzip, as a body or in a query.
"""

import json
import zlib
from typing import Any

from google.protobuf.message import DecodeError
from igw_api import connect_wire as wire
from igw_api.body import json_object
from igw_api.document import CLAIM_ENUMS, DEPLOYMENT_ENUMS, GATEWAY_ENUMS, MOST_VALUES, named, plain
from igw_api.failure import RefusedError
from igw_api.messages import PROCEDURES, Procedure, document
from igw_model.capacity_claim import parse_capacity_claim
from igw_model.deployment import parse_deployment
from igw_model.gateway import parse_gateway

WATCHED = ("igw_api", "igw_model")
MAX_BYTES = 4096
_MOST_TEXT = 20_000
_ENUMS = (
    (GATEWAY_ENUMS, parse_gateway),
    (DEPLOYMENT_ENUMS, parse_deployment),
    (CLAIM_ENUMS, parse_capacity_claim),
)


def check(data: bytes) -> None:
    """Read a message."""
    if not data:
        return
    how, content = data[0], data[1:]
    procedure = PROCEDURES[(how & 0x0F) % len(PROCEDURES)]
    _headers(content)
    try:
        payload = _payload(how, content)
        assert len(payload) <= wire.MESSAGE_BYTES
        read = json_object(payload) if how & 0x10 else document(procedure, payload)
    except RefusedError as refused:
        _judge(refused)
        return
    if how & 0x10:
        _compare(payload, read)
    else:
        _again(procedure, payload)
    _parse(read)


def _payload(how: int, content: bytes) -> bytes:
    if how & 0x20:
        return wire.payload_of_body(content, "gzip")
    if how & 0x40:
        return wire.payload_of_query({"message": content.decode("latin-1"), "base64": "1"})
    if how & 0x80:
        return wire.payload_of_body(zlib.compress(content, wbits=31), "gzip")
    return wire.payload_of_body(content, None)


def _headers(content: bytes) -> None:
    """Read the bytes as headers of a call."""
    text = content.decode("latin-1")
    wire.codec_of_content(text)
    wire.codec_of_query(text)
    wire.gzip_accepted(text, None)
    try:
        seconds = wire.seconds(text)
    except RefusedError as refused:
        _judge(refused)
    else:
        assert seconds is not None
        assert 0 <= seconds < 1e7


def _compare(payload: bytes, read: dict[str, Any]) -> None:
    """Hold what is read to what `json` reads."""
    assert repr(json.loads(payload)) == repr(read)


def _again(procedure: Procedure, payload: bytes) -> None:
    """See that what was read is a message still."""
    try:
        assert procedure.request.FromString(payload).SerializeToString() is not None
    except DecodeError:
        raise AssertionError("read what is no message") from None


def _parse(read: dict[str, Any]) -> None:
    """Hold it to the rules of each kind."""
    try:
        document = plain(read)
    except RefusedError as refused:
        _judge(refused)
        return
    assert _values(document) <= MOST_VALUES + 1
    for enums, parse in _ENUMS:
        parsed = parse(named(document, enums))
        if isinstance(parsed, list):
            assert parsed
            assert sum(len(str(error)) for error in parsed) <= _MOST_TEXT + 200 * len(str(document))


def _values(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + sum(map(_values, value.values()))
    return 1 + sum(map(_values, value)) if isinstance(value, list) else 1


def _judge(refused: RefusedError) -> None:
    assert len(refused.message) <= _MOST_TEXT
    assert refused.message.encode()
