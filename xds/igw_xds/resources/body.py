"""The filter that reads requests' bodies within Envoy (`scripts/body.lua`), and what a route says to it. Pure."""

from envoy.extensions.common.matching.v3 import extension_matcher_pb2
from envoy.extensions.filters.http.lua.v3 import lua_pb2
from google.protobuf import struct_pb2
from google.protobuf.message import Message

from igw_xds.resources.matching import unless, unmarked
from igw_xds.resources.scripts import script

BODY = "igw.body"
"""The filter, and the metadata by which it leaves requests to ext_proc."""
_FORM = "form"


def body_script() -> lua_pb2.Lua:
    """Give the filter; where no route says what it reads, it reads nothing."""
    return script("body_text", "body_scan", "body")


def reads(*, model: bool, stream_usage: bool, leaves_forms: bool) -> lua_pb2.LuaPerRoute | None:
    """Say what is done with a route's bodies; None: nothing.

    `model`: the model that one asks for becomes a header. `stream_usage`: a streaming completion is made to ask for
    its usage. `leaves_forms`: bodies of form data are left to ext_proc, else `model` refuses them.
    """
    wanted = [word for word, is_wanted in (("model", model), ("usage", stream_usage)) if is_wanted]
    if not wanted:
        return None
    context = struct_pb2.Struct()
    context.update({"read": " ".join(wanted), "leaves_forms": leaves_forms})
    return lua_pb2.LuaPerRoute(filter_context=context)


def only_forms(config: Message, type_name: str) -> extension_matcher_pb2.ExtensionWithMatcher:
    """Give the filter `type_name` with its `config`, for the requests that the script left to it."""
    return unless(unmarked(BODY, _FORM), config, type_name)
