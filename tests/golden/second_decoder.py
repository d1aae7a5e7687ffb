"""A second, independent reading of the bytes that are served: `envoy-data-plane` (betterproto2).

It knows Envoy's messages from another code generator and decodes strictly. Both readings become JSON; what
they spell differently by habit (``consecutive_5xx``, 64-bit numbers) is written the same way first.
"""

import importlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import betterproto2
import igw_xds.bootstrap  # noqa: F401 - registers with protobuf every message that is served
from envoy_data_plane.google.protobuf import Struct
from envoy_data_plane.message_pool import default_message_pool
from google.protobuf import descriptor_pool, message_factory
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

TYPE_URL = re.compile(rb"type\.googleapis\.com/([a-z0-9_.]+)\.([A-Z]\w*)")
"""A type as an Any names it; what follows it on the wire is the tag of `value`, never a letter or digit."""


@dataclass(eq=False, repr=False)
class TypedStruct(betterproto2.Message):
    """`xds/type/v3/typed_struct.proto`, the one message that is served and not known there."""

    type_url: str = betterproto2.field(1, betterproto2.TYPE_STRING)
    value: Struct | None = betterproto2.field(2, betterproto2.TYPE_MESSAGE, optional=True)  # noqa: RUF009


default_message_pool.register_message("xds.type.v3", "TypedStruct", TypedStruct)
KNOWN_HERE = {"xds.type.v3"}


def first_reading(body: AnyMessage) -> Any:
    """Give what the protobuf library reads, nested extensions included."""
    found = descriptor_pool.Default().FindMessageTypeByName(body.TypeName())
    message: Message = message_factory.GetMessageClass(found)()
    body.Unpack(message)
    return spelled_alike(MessageToDict(message, preserving_proto_field_name=True))


def second_reading(body: AnyMessage) -> Any:
    """Give what envoy-data-plane reads, nested extensions included; TypeError for a type unknown to it."""
    for package in extension_packages(body) - KNOWN_HERE:
        importlib.import_module(f"envoy_data_plane.{package}")
    message = default_message_pool.url_to_type[body.type_url].parse(body.value)
    return spelled_alike(message.to_dict(casing=betterproto2.Casing.SNAKE))


def extension_packages(body: AnyMessage) -> set[str]:
    """Give the packages of all types named in the bytes; decoding needs them imported."""
    return {package.decode() for package, _ in TYPE_URL.findall(body.SerializeToString())}


def spelled_alike(value: Any) -> Any:
    """Give JSON in which two libraries' habits of writing names and numbers are gone."""
    match value:
        case Mapping():
            return {str(key).replace("_", ""): spelled_alike(item) for key, item in value.items()}
        case list() | tuple():
            return [spelled_alike(item) for item in value]
        case bool():
            return value
        case int() | float():
            return str(value)
        case _:
            return value
