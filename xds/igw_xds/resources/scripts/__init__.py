"""The Lua scripts that Envoy's filters run, as text; each begins with `compiling.lua`."""

from functools import cache
from importlib.resources import files

from envoy.config.core.v3 import base_pb2
from envoy.extensions.filters.http.lua.v3 import lua_pb2

FILTER = "envoy.filters.http.lua"
"""Envoy's name for the filter that runs them."""


@cache
def source(*names: str) -> str:
    """Give the text of the script whose parts have these names."""
    return "\n".join((files(__name__) / f"{name}.lua").read_text(encoding="utf-8") for name in names)


def script(*names: str) -> lua_pb2.Lua:
    """Give the filter that runs the script whose parts have these names."""
    return lua_pb2.Lua(default_source_code=base_pb2.DataSource(inline_string=source("compiling", *names)))
