"""ext_authz checks over HTTP/1.1 and gRPC: any chunking asks the same, and nothing that HTTP forbids is asked.

The first byte says which: `G` and a CheckRequest, else the bytes of an HTTP/1.1 connection.
"""

from envoy.service.auth.v3 import external_auth_pb2
from google.protobuf.message import DecodeError
from igw_extauth.answer import answer
from igw_extauth.attempt import Attempt
from igw_extauth.decision import Deny
from igw_extauth.wire.grpc_shell import attempt, message
from igw_extauth.wire.http_reply import refusal_reply, reply
from igw_extauth.wire.http_request import Policies, Refusal, Request, RequestReader

from fuzz.chunks import chunkings

WATCHED = ("igw_extauth", "igw_model")
MAX_BYTES = 8192
_POLICIES = Policies()


def check(data: bytes) -> None:
    """Read checks."""
    if data[:1] == b"G":
        _check_grpc(data[1:])
        return
    whole, *others = (_read(chunks) for chunks in chunkings(data))
    assert all(other == whole for other in others), (whole, others)
    assert len(whole) <= len(data) // len(b"G / HTTP/1.1") + 1
    over = [asked for asked in whole if isinstance(asked, Refusal) or asked.last]
    assert over in ([], whole[-1:])
    for asked in whole:
        if isinstance(asked, Request):
            _judge(asked.attempt)
            assert reply(answer(Deny.NO_TOKEN), bodiless=asked.bodiless, last=asked.last)
        else:
            assert refusal_reply(asked).endswith(b"\r\n\r\n")


def _read(chunks: list[bytes]) -> list[Request | Refusal]:
    reader = RequestReader(_POLICIES)
    return [given for chunk in chunks for given in reader.receive(chunk)]


def _check_grpc(data: bytes) -> None:
    try:
        request = external_auth_pb2.CheckRequest.FromString(data)
    except DecodeError:
        return
    asked = attempt(request)
    _judge(asked)
    assert attempt(external_auth_pb2.CheckRequest.FromString(request.SerializeToString())) == asked
    assert message(answer(Deny.NO_TOKEN))


def _judge(asked: Attempt) -> None:
    """See that what is read can be written to an authority and a log."""
    if asked.token is not None:
        text = asked.token.reveal()
        assert text.isascii()
        assert text.isprintable()
        assert " " not in text
        assert len(text) <= 4098
    assert asked.project is None or asked.project.strip()
