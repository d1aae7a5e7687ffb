"""Names, and what is answered where there is none."""

import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from igw_extproc.model_name import INVALID_JSON, MISSING, ModelName, Refusal, judged, spoken, unknown_model
from igw_model.openai import ApiError

UNROUTABLE = ["a\nb", "a\x00", "\x7f", "a\x85b", " a", "a ", "a\t", " ", "a" * 257, "é" * 129]


def refused(name: str) -> ApiError:
    """Give the error for a name."""
    with pytest.raises(Refusal) as refusal:
        judged(name)
    return refusal.value.error


@pytest.mark.parametrize("name", ["gpt", "org/gpt-4o:v1.2", "日本 語", "a" * 256, "\u00a0a"], ids=ascii)
def test_names(name: str) -> None:
    """Anything that a header's value can be is a name."""
    assert judged(name) == ModelName(name)


@pytest.mark.parametrize("name", UNROUTABLE, ids=lambda name: repr(name)[:20])
def test_names_that_no_deployment_can_have(name: str) -> None:
    """A string that cannot be a header's value, or is too long, is a model that does not exist."""
    assert refused(name) == unknown_model(name)


def test_an_empty_name_is_none() -> None:
    """As if the parameter were missing."""
    assert refused("") == MISSING


def test_unknown_model_is_404_as_openai_says_it() -> None:
    """The 404 names the parameter, the code and the model as OpenAI does."""
    assert unknown_model("gpt") == ApiError(404, "model_not_found", "The model `gpt` does not exist", "model")


@given(st.text())
@example("😀" * 1000)
def test_echo_is_short_and_printable(name: str) -> None:
    """Nothing of the client's that could forge a line or fill a log comes back in a message."""
    message = unknown_model(name).message
    assert message.isascii()
    assert message.isprintable()
    assert len(message) < 10 * 64 + 50


@given(st.text(alphabet=st.characters(codec="utf-8")))
def test_a_name_that_is_let_through_is_a_headers_value(name: str) -> None:
    """No control character, no space at its ends, at most 256 bytes, and not nothing."""
    try:
        text = judged(name).text
    except Refusal:
        return
    assert text == name
    assert 0 < len(text.encode()) <= 256
    assert text == text.strip(" ")
    assert not any(unicodedata.category(character) == "Cc" for character in text)


@pytest.mark.parametrize(
    ("spelling", "text"),
    [
        (b"", ""),
        (b"\\u00e9\\n\\/\\\\", "é\n/\\"),
        ("é".encode(), "é"),
        (b"\\ud83d\\ude00", "😀"),
        (b"\x7f", "\x7f"),
    ],
    ids=["nothing", "escapes", "utf-8", "pair", "delete"],
)
def test_what_a_string_says(spelling: bytes, text: str) -> None:
    """RFC 8259, section 7."""
    assert spoken(spelling) == text


@pytest.mark.parametrize(
    "spelling",
    [
        b"\x00",
        b"\x1f",
        b"\\x",
        b"\\u12",
        b"\\u12g4",
        b"\\ud800",
        b"\\udc00\\ud800",
        b"\xff",
        b"\xed\xa0\x80",
        b"\xc0\x80",
    ],
    ids=ascii,
)
def test_what_no_string_says(spelling: bytes) -> None:
    """No control character, no other escape, no surrogate alone, nothing but UTF-8."""
    with pytest.raises(Refusal) as refusal:
        spoken(spelling)
    assert refusal.value.error == INVALID_JSON
