"""Both engines, this one and Envoy's script, give the same answer to any JSON body, to the last byte."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from igw_extproc.json_body import JsonBody
from igw_model.openai import ApiError

from tests.unit.extproc.bodies import pieces, read
from tests.unit.scripts.body_requests import play, refusal

TOKENS = [b'"', b"\\", b"{", b"}", b"[", b"]", b":", b",", b" ", b"\t", b"\x0b", b"\x00", b"\xff", b"x"]
TOKENS += [b"1", b"-", b".5", b"e3", b"0", b"null", b"true", b'"a"', b'"b":', b'"model"', b'"mod\\u0065l":']
TOKENS += [
    b"\\u00",
    b"\\u006d",
    b"\\ud800",
    b"\\ud83d\\ude00",
    "é😀\x7f\x85".encode(),
    b"\xed\xa0\x80",
    b'"model":"a",',
]
SPELLINGS = st.text(st.sampled_from('a é😀\x7f\\"u0041nd8'), max_size=8).map(lambda text: f'"{text}"')
SCALARS = st.sampled_from(
    ["1", "-0", "1e5", "0.1", "01", "-", "1.", "1E-3", "true", "null", "nul", "{}", "[", "]"]
)


def members(values: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Give objects that may have a key twice."""
    keys = st.sampled_from(['"a"', '"model"', '"mod\\u0065l"', '"\\ud800"']) | SPELLINGS
    return st.lists(st.tuples(keys, values), max_size=4).map(
        lambda pairs: "{" + ",".join(f"{key}:{value}" for key, value in pairs) + "}"
    )


VALUES = st.recursive(
    SPELLINGS | SCALARS | st.text(max_size=9).map(json.dumps),
    lambda inner: st.lists(inner, max_size=3).map(lambda items: f"[{','.join(items)}]") | members(inner),
    max_leaves=6,
)
BODIES = st.lists(st.sampled_from(TOKENS)).map(lambda tokens: b"{" + b"".join(tokens)) | members(VALUES).map(
    str.encode
)


@given(BODIES, st.sampled_from([1, 3, 1_000]), st.sampled_from([1, 2, 7, 65_536]))
def test_any_body(body: bytes, size: int, window: int) -> None:
    """The model, or the status and the reply; whatever the chunks here and the windows there."""
    answer: Any = read(JsonBody(), pieces(body, size))
    expected = refusal(answer) if isinstance(answer, ApiError) else answer
    assert play(body, window=window).answer == expected
