"""What holds for every script that Envoy runs."""

import subprocess
import sys

import pytest
from envoy.extensions.common.matching.v3.extension_matcher_pb2 import ExtensionWithMatcher
from envoy.extensions.filters.http.lua.v3.lua_pb2 import Lua
from igw_xds.resources.filters import http_filters
from igw_xds.resources.scripts import source
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
def test_compiling_is_tried_first(name: str) -> None:
    """Before all else each script sees whether code may be made at run time, which would end Envoy where it may not."""
    assert scripts()[name].startswith(source("compiling"))


def compiles(denied: str = "pass") -> bool:
    """Say whether a LuaJIT that loaded the beginning of our scripts goes on compiling; `denied` is done before."""
    code = (
        "import ctypes, sys; from lupa.luajit21 import LuaRuntime; lua = LuaRuntime(); "
        f"{denied}; lua.execute(sys.argv[1]); print(lua.eval('(jit.status())'))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code, source("compiling")], capture_output=True, text=True, check=True
    )
    return ran.stdout.strip() == "True"


def test_code_is_made_where_it_may_be() -> None:
    """And nowhere else: the kernel is told to forbid it, as systemd tells it."""
    assert compiles()
    assert not compiles("assert ctypes.CDLL(None).prctl(65, 1, 0, 0, 0) == 0")
