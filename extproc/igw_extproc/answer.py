"""Answers as Envoy reads them: an `Answer` in, a serialised `ProcessingResponse` out. Pure.

Source: envoy/service/ext_proc/v3/external_processor.proto.
"""

from functools import lru_cache
from typing import Any, Final, assert_never

from envoy.config.core.v3 import base_pb2
from envoy.service.ext_proc.v3 import external_processor_pb2 as ext_proc
from google.protobuf import struct_pb2
from igw_model import headers
from igw_model.openai import ApiError

from igw_extproc.exchange import Proceed, Refuse, Route

DETAILS_PREFIX: Final = "igw_"
"""Begins `%RESPONSE_CODE_DETAILS%` of our replies, so that Envoy's local_reply_config keeps their body."""


def encode(answer: Proceed | Route | Refuse) -> bytes:
    """Give the message that says this to Envoy."""
    match answer:
        case Proceed():
            return _PROCEED
        case Route():
            return _route(answer.model.text)
        case Refuse(error=error):
            return _refusal(error)
        case _:
            assert_never(answer)


def _proceed() -> bytes:
    """Go on, without the header a client may have forged: a request may end with no body message at all."""
    common = ext_proc.CommonResponse(
        header_mutation=ext_proc.HeaderMutation(remove_headers=[headers.MODEL]), clear_route_cache=True
    )
    return _bytes(ext_proc.ProcessingResponse(request_headers=ext_proc.HeadersResponse(response=common)))


@lru_cache(maxsize=1024)
def _route(name: str) -> bytes:
    """Name the model, in a header and in metadata; the same few are asked for again and again.

    Envoy passes over the header where it sent none of the request's, and takes from it that the route may be chosen
    anew; a filter behind makes the header of the metadata then.
    """
    model = base_pb2.HeaderValueOption(
        header=base_pb2.HeaderValue(key=headers.MODEL, raw_value=name.encode()),
        append_action=base_pb2.HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD,
    )
    common = ext_proc.CommonResponse(
        header_mutation=ext_proc.HeaderMutation(set_headers=[model]), clear_route_cache=True
    )
    metadata = struct_pb2.Struct()
    metadata.update({headers.MODEL_METADATA: {headers.MODEL: name}})
    body = ext_proc.BodyResponse(response=common)
    return _bytes(ext_proc.ProcessingResponse(request_body=body, dynamic_metadata=metadata))


def _refusal(error: ApiError) -> bytes:
    content_type = base_pb2.HeaderValueOption(
        header=base_pb2.HeaderValue(key="content-type", raw_value=b"application/json"),
        append_action=base_pb2.HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD,
    )
    reply = ext_proc.ImmediateResponse(
        status={"code": error.status},
        headers=ext_proc.HeaderMutation(set_headers=[content_type]),
        body=error.body(),
        details=DETAILS_PREFIX + error.code,
    )
    return _bytes(ext_proc.ProcessingResponse(immediate_response=reply))


def _bytes(message: Any) -> bytes:
    serialised: bytes = message.SerializeToString()
    return serialised


_PROCEED = _proceed()
