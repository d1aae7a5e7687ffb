"""The protobuf face of the methods: a request's bytes in, its document out; an answer's document in, its bytes out.

Everything is found in the descriptors of the compiled .proto files: services, methods, messages and their options.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from google.protobuf import json_format
from google.protobuf.descriptor import FileDescriptor, MethodDescriptor
from google.protobuf.descriptor_pb2 import MethodOptions
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass
from igw_protos.coreweave.inference.v1alpha1 import capacity_claim_pb2, deployment_pb2, gateway_pb2

from igw_api.failure import Code, RefusedError
from igw_api.methods import Method


@dataclass(frozen=True, slots=True)
class Procedure:
    """A method as Connect and gRPC know it."""

    method: Method
    service: str
    """The full name."""
    safe: bool
    """Without side effects, by the .proto's own word."""
    request: type[Message]
    answer: type[Message]

    @property
    def path(self) -> str:
        """Give where it is called, over HTTP and gRPC alike."""
        return f"/{self.service}/{self.method}"


def _procedures(file: FileDescriptor) -> list[Procedure]:
    return [_procedure(method) for service in file.services_by_name.values() for method in service.methods]


def _procedure(descriptor: MethodDescriptor) -> Procedure:
    return Procedure(
        method=Method(descriptor.name),
        service=descriptor.containing_service.full_name,
        safe=descriptor.GetOptions().idempotency_level == MethodOptions.NO_SIDE_EFFECTS,
        request=GetMessageClass(descriptor.input_type),
        answer=GetMessageClass(descriptor.output_type),
    )


PROCEDURES = tuple(
    procedure
    for module in (gateway_pb2, deployment_pb2, capacity_claim_pb2)
    for procedure in _procedures(module.DESCRIPTOR)
)
"""Every method of every service."""


def document(procedure: Procedure, data: bytes) -> dict[str, Any]:
    """Give the document of a request, holding what was sent, zero values too. Raises RefusedError.

    Fields that the .proto does not have are ignored, as protobuf has it; an enum's unknown number stays a number.
    """
    try:
        # A value may be legal on the wire and have no JSON, as the 31st of February of a Timestamp has none.
        return json_format.MessageToDict(procedure.request.FromString(data))
    except (DecodeError, json_format.Error):
        # The library's text may quote what was sent.
        name = procedure.request.DESCRIPTOR.full_name
        raise RefusedError(Code.INVALID_ARGUMENT, f"the body is not a valid {name}") from None


def message(procedure: Procedure, answer: Mapping[str, Any]) -> bytes:
    """Give the bytes of an answer. Raises ParseError for a document that the .proto has no place for: our mistake."""
    return json_format.ParseDict(dict(answer), procedure.answer()).SerializeToString(deterministic=True)
