"""What holds for every script that Envoy runs."""

import pytest
from envoy.extensions.common.matching.v3.extension_matcher_pb2 import ExtensionWithMatcher
from envoy.extensions.filters.http.lua.v3.lua_pb2 import Lua
from igw_xds.resources.filters import http_filters
from igw_xds.settings import DataPlane


def scripts() -> dict[str, str]:
    """Give the scripts of the listener, by the name of their filter."""
    found = {}
    for each in http_filters(DataPlane()):
        config, wrapped, lua = each.typed_config, ExtensionWithMatcher(), Lua()
        if config.Unpack(wrapped):
            config = wrapped.extension_config.typed_config
        if config.Unpack(lua):
            found[each.name] = lua.default_source_code.inline_string
    return found


def test_they_are_found() -> None:
    """Three filters run scripts."""
    assert set(scripts()) == {"igw.host", "igw.usage", "igw.body"}


@pytest.mark.parametrize("name", scripts())
def test_nothing_is_compiled(name: str) -> None:
    """Before all else each script forbids code made at run time, which a hardened host would end Envoy for."""
    lines = [line for line in scripts()[name].splitlines() if line and not line.startswith("--")]
    assert lines[0] == "jit.off()"
