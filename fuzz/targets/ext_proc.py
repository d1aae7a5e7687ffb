"""What Envoy tells extproc on a gRPC stream: any chunking gives the same answers; messages say what protobuf reads."""

from envoy.service.ext_proc.v3 import external_processor_pb2 as ext_proc
from google.protobuf.message import DecodeError
from igw_extproc.answer import encode
from igw_extproc.exchange import Answer, Exchange, Fail
from igw_extproc.messages import MAX_MESSAGE_BYTES, Content, End, Messages, Part, Strange
from igw_ops.grpc.wire import PREFIX_BYTES, message

from fuzz.chunks import chunkings

WATCHED = ("igw_extproc", "igw_ops", "igw_model")
MAX_BYTES = 4096
_MAX_BODY_BYTES = 1024
_MAX_ANSWER_BYTES = 4096


def check(data: bytes) -> None:
    """Read the bytes of a stream; and those of one that holds them as a message."""
    for stream in (data, message(data)):
        whole, *others = (_answers(chunks) for chunks in chunkings(stream))
        assert all(other == whole for other in others), (whole, others)
        told, *others_told = (_told(chunks) for chunks in chunkings(stream))
        assert all(other == told for other in others_told), (told, others_told)
    _compare(data)


def _answers(chunks: list[bytes]) -> list[Answer]:
    exchange = Exchange(_MAX_BODY_BYTES)
    answers = []
    for chunk in chunks:
        if not exchange.over:
            answers += exchange.receive(chunk)
    for answer in answers:
        assert isinstance(answer, Fail) or len(encode(answer)) < _MAX_ANSWER_BYTES
    return answers


def _told(chunks: list[bytes]) -> list[Part]:
    """Give what a stream tells, its body in one piece; nothing is held but what is told to be bounded."""
    messages, parts = Messages(), list[Part]()
    for chunk in chunks:
        for part in messages.read(chunk):
            if isinstance(part, Content) and parts and isinstance(parts[-1], Content):
                parts[-1] = Content(parts[-1].content + part.content)
            else:
                parts.append(part)
            if isinstance(part, Strange):
                return parts  # nothing more is read of the stream
        assert len(messages._held) <= MAX_MESSAGE_BYTES + PREFIX_BYTES
    return parts


def _compare(data: bytes) -> None:
    """Hold a message with a body, written as Envoy writes it, to what protobuf reads."""
    try:
        request = ext_proc.ProcessingRequest.FromString(data)
    except DecodeError:
        return
    body = request.request_body.body
    plain = ext_proc.ProcessingRequest(request_body={"body": body, "end_of_stream": True})
    parts = _told([message(plain.SerializeToString())])
    assert parts == ([Content(body)] if body else []) + [End()], parts
