"""Every legal percent-encoding of a name is the same name (section 4), and no other text is."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from igw_cli.envoy import envoy_command
from igw_xds.bootstrap import static_bootstrap
from igw_xds.resources.routes import encodings
from igw_xds.settings import HostPort

from tests.builders import deployment, gateway, served

UNRESERVED = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~"
MAY_STAND = UNRESERVED + "!$&'()*+,;=:@"
"""What may stand for itself in a path segment: RFC 3986, section 3.3, `pchar`."""
NAMES = st.text(MAY_STAND + '/%[]{}|\\^"<>#?`äß模😀', min_size=1, max_size=12)


def matches(name: str, segment: str) -> bool:
    """Tell whether a path segment, as Envoy's normalisation leaves it, is a name."""
    return re.fullmatch(encodings(name), normalised(segment)) is not None


def normalised(segment: str) -> str:
    """Decode percent-encoded unreserved characters, as Envoy's `normalize_path` does (RFC 3986, section 6.2.2)."""

    def decoded(match: re.Match[str]) -> str:
        character = chr(int(match[1], 16))
        return character if character in UNRESERVED else match[0]

    return re.sub("%([0-9A-Fa-f]{2})", decoded, segment)


@st.composite
def spellings(draw: st.DrawFn, name: str) -> str:
    """Give any legal spelling of a name as one path segment: each byte in either case, or as itself."""
    spelling = ""
    for character in name:
        plain = character in MAY_STAND and draw(st.booleans())
        spelling += character if plain else "".join(draw(_spelled(byte)) for byte in character.encode())
    return spelling


def _spelled(byte: int) -> Any:
    upper = f"{byte:02X}"
    lower = upper.lower()
    digits = st.tuples(st.sampled_from([upper[0], lower[0]]), st.sampled_from([upper[1], lower[1]]))
    return digits.map(lambda pair: "%" + "".join(pair))


@given(st.data(), NAMES)
def test_every_spelling_is_the_name(data: Any, name: str) -> None:
    """Whatever a client encodes, and in whichever case, it asks for the same model."""
    assert matches(name, data.draw(spellings(name)))


@given(st.data(), NAMES, NAMES)
def test_no_spelling_is_another_name(data: Any, name: str, other: str) -> None:
    """A spelling of one name never leads to another model."""
    assert matches(name, data.draw(spellings(other))) is (name == other)


@given(NAMES, st.text(MAY_STAND + "%", max_size=12))
def test_only_legal_text_is_a_name(name: str, segment: str) -> None:
    """What is not a percent-encoding of the name at all, such as a lone `%`, does not match."""
    legal = re.fullmatch("(?:%[0-9A-Fa-f]{2}|[^%])*", segment)
    decoded = (
        re.sub(rb"%([0-9A-Fa-f]{2})", lambda m: bytes([int(m[1], 16)]), segment.encode()) if legal else None
    )
    assert matches(name, segment) is (decoded == name.encode())


@pytest.mark.parametrize(
    ("name", "segment", "same"),
    [
        ("my/model:8b@x", "my%2Fmodel:8b@x", True),
        ("my/model:8b@x", "my%2fmodel%3A8b%40x", True),
        ("my/model:8b@x", "my/model:8b@x", False),
        ("my/model", "my%252Fmodel", False),
        ("größe", "gr%C3%B6%c3%9Fe", True),
        ("größe", "gr%F6%DFe", False),
        ("a.bc", "axbc", False),
        ("demo", "Demo", False),
        ("demo", "%64emo", True),
        ("demo", "demo%20", False),
        ("100%", "100%25", True),
        ("100%", "100%", False),
    ],
)
def test_examples(name: str, segment: str, *, same: bool) -> None:
    """A slash within a name is always encoded; encoding twice is another name."""
    assert matches(name, segment) is same


def accepted(folder: Path, **fields: Any) -> str:
    """Give what Envoy says against a gateway with one model; nothing is good."""
    model = fields.pop("model")
    snapshot = served(gateway(**fields), deployment(model={"name": model}))
    path = folder / "envoy.yaml"
    path.write_text(yaml.safe_dump(static_bootstrap(snapshot, HostPort("127.0.0.1", 9901))), encoding="utf-8")
    command = [envoy_command(), "--mode", "validate", "--log-level", "error", "-c", str(path)]
    return subprocess.run(command, capture_output=True, text=True, check=False).stderr


@pytest.mark.parametrize("model", ["/" * 63, "模" * 63, "😀" * 63], ids=["slash", "han", "emoji"])
def test_envoy_accepts_the_longest_names(tmp_path: Path, model: str) -> None:
    """A legal name of 63 characters, of whatever script, must not make Envoy refuse the gateway's routes."""
    assert not accepted(tmp_path, model=model, pathBasedRouting={})


@pytest.mark.parametrize("header", ["x%model", "%"])
def test_envoy_accepts_every_header_name(tmp_path: Path, header: str) -> None:
    """Every legal field name (RFC 9110, section 5.6.2: `%` is one of tchar) must give acceptable routes."""
    assert not accepted(tmp_path, model="demo", headerBasedRouting={"headerName": header})
