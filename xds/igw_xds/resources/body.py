"""The filter that reads requests' bodies within Envoy, what a route says to it, and how extproc is asked. Pure.

The script is `scripts/body.lua`; the filter that asks is in `filters`.
"""

from envoy.config.common.mutation_rules.v3 import mutation_rules_pb2
from envoy.config.core.v3 import base_pb2
from envoy.extensions.common.matching.v3 import extension_matcher_pb2
from envoy.extensions.filters.http.ext_proc.v3 import processing_mode_pb2
from envoy.extensions.filters.http.header_mutation.v3 import header_mutation_pb2
from envoy.extensions.filters.http.lua.v3 import lua_pb2
from google.protobuf import struct_pb2
from google.protobuf.message import Message
from igw_model import headers

from igw_xds.resources.matching import unless, unmarked
from igw_xds.resources.scripts import script

BODY = "igw.body"
"""The filter, and the metadata by which it leaves requests to ext_proc."""
ProcessingMode = processing_mode_pb2.ProcessingMode
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


def whole_body(request_headers: processing_mode_pb2.ProcessingMode.HeaderSendMode) -> ProcessingMode:
    """Send a request's body when it is whole, and its headers before it or not."""
    return ProcessingMode(
        request_header_mode=request_headers,
        request_body_mode=ProcessingMode.BUFFERED,
        request_trailer_mode=ProcessingMode.SKIP,
        response_header_mode=ProcessingMode.SKIP,
        response_body_mode=ProcessingMode.NONE,
        response_trailer_mode=ProcessingMode.SKIP,
    )


def model_header() -> header_mutation_pb2.HeaderMutation:
    """Make a header of the model that extproc told; what is not there makes none."""
    value = f"%DYNAMIC_METADATA({headers.MODEL_METADATA}:{headers.MODEL})%"
    option = base_pb2.HeaderValueOption(
        header=base_pb2.HeaderValue(key=headers.MODEL, value=value),
        append_action=base_pb2.HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD,
    )
    mutations = header_mutation_pb2.Mutations(
        request_mutations=[mutation_rules_pb2.HeaderMutation(append=option)]
    )
    return header_mutation_pb2.HeaderMutation(mutations=mutations)
