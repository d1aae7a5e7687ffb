"""The filter that reads requests' bodies within Envoy (`scripts/body.lua`), and what a route says to it. Pure."""

from envoy.extensions.common.matching.v3 import extension_matcher_pb2
from envoy.extensions.filters.http.lua.v3 import lua_pb2
from envoy.type.matcher.v3 import http_inputs_pb2
from google.protobuf import struct_pb2
from google.protobuf.message import Message
from xds.core.v3 import extension_pb2
from xds.type.matcher.v3 import string_pb2

from igw_xds.resources.matching import Predicate, Single, unless
from igw_xds.resources.messages import packed
from igw_xds.resources.scripts import script

BODY = "igw.body"


def body_script() -> lua_pb2.Lua:
    """Give the filter; where no route says what it reads, it reads nothing."""
    return script("body_text", "body_scan", "body")


def reads(*, model: bool, stream_usage: bool, multipart: bool) -> lua_pb2.LuaPerRoute:
    """Say what is done with a route's bodies.

    `model`: the model that one asks for becomes a header. `stream_usage`: a streaming completion is made to ask for
    its usage. `multipart`: bodies of form data are left to ext_proc, else `model` refuses them.
    """
    if not (model or stream_usage):
        return lua_pb2.LuaPerRoute(disabled=True)
    context = struct_pb2.Struct()
    context.update({"model": model, "stream_usage": stream_usage, "multipart": multipart})
    return lua_pb2.LuaPerRoute(filter_context=context)


def only_multipart(config: Message, type_name: str) -> extension_matcher_pb2.ExtensionWithMatcher:
    """Give the filter `type_name` with its `config`, for requests with form data alone."""
    content_type = http_inputs_pb2.HttpRequestHeaderMatchInput(header_name="content-type")
    multipart = Single(
        input=extension_pb2.TypedExtensionConfig(name="content-type", typed_config=packed(content_type)),
        value_match=string_pb2.StringMatcher(prefix="multipart/", ignore_case=True),
    )
    return unless(Predicate(not_matcher=Predicate(single_predicate=multipart)), config, type_name)
