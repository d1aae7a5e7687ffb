"""A failure's details as clients of Connect and gRPC read them: google.rpc messages, packed or as Connect's JSON.

All bad fields are one BadRequest and all preconditions one PreconditionFailure, as google/rpc/error_details.proto has
them; each resource is one ResourceInfo.
"""

import base64
from collections.abc import Iterator, Sequence
from typing import Any

from google.protobuf import any_pb2, json_format
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import BadRequest, PreconditionFailure, ResourceInfo

from igw_api.failure import BadField, Detail, Precondition, Resource


def packed(details: Sequence[Detail]) -> list[any_pb2.Any]:
    """Give the details as google.rpc.Status has them."""
    return [_packed(message) for message in _messages(details)]


def as_json(details: Sequence[Detail]) -> list[dict[str, Any]]:
    """Give the details as an error in JSON has them: type, unpadded base64 value, and for people to read, debug.

    Source: connectrpc.com/docs/protocol, "Error and EndStreamResponse".
    """
    return [
        {
            "type": message.DESCRIPTOR.full_name,
            "value": base64.b64encode(message.SerializeToString(deterministic=True)).decode().rstrip("="),
            "debug": json_format.MessageToDict(message),
        }
        for message in _messages(details)
    ]


def _packed(message: Message) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(message, deterministic=True)
    return packed


def _messages(details: Sequence[Detail]) -> Iterator[Message]:
    if fields := [detail for detail in details if isinstance(detail, BadField)]:
        yield BadRequest(
            field_violations=[
                BadRequest.FieldViolation(field=bad.field, description=bad.description) for bad in fields
            ]
        )
    if preconditions := [detail for detail in details if isinstance(detail, Precondition)]:
        yield PreconditionFailure(
            violations=[
                PreconditionFailure.Violation(
                    type=unmet.type, subject=unmet.subject, description=unmet.description
                )
                for unmet in preconditions
            ]
        )
    for detail in details:
        if isinstance(detail, Resource):
            yield ResourceInfo(
                resource_type=detail.type, resource_name=detail.name, description=detail.description
            )
