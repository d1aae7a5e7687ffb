"""Form data and what it asks for: docs/body-routing.md, rule by rule, in chunks of any size."""

import logging
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st
from igw_extproc.form_body import INVALID, MAX_HEADER_BYTES, MAX_PARTS, FormBody
from igw_extproc.model_name import DUPLICATE, MISSING, TOO_COMPLEX, Refusal, unknown_model
from igw_model.openai import ApiError

from tests.unit.extproc.bodies import chunks, pieces, read

TYPE = "multipart/form-data; boundary=xyz"


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    """The parser says each fault to the log, one by one where chunks are bytes."""
    caplog.set_level(logging.CRITICAL, "python_multipart")


def part(name: bytes, content: bytes, more: bytes = b"", headers: bytes = b"") -> bytes:
    """Give a part, its boundary before it."""
    return (
        b'--xyz\r\nContent-Disposition: form-data; name="'
        + name
        + b'"'
        + more
        + b"\r\n"
        + headers
        + b"\r\n"
        + content
    ) + b"\r\n"


END = b"--xyz--\r\n"
FILE = part(
    b"file", b"\r\n\x00\r\n--xy\r\n--xy\xff" * 20, b'; filename="a.wav"', b"Content-Type: audio/wav\r\n"
)
MODEL = part(b"model", b"whisper")

CASES: dict[str, tuple[bytes, str | ApiError]] = {
    "alone": (MODEL + END, "whisper"),
    "behind a file": (FILE + MODEL + END, "whisper"),
    "before a file": (MODEL + FILE + END, "whisper"),
    "without quotes": (b"--xyz\r\ncontent-disposition: form-data; name=model\r\n\r\na\r\n--xyz--", "a"),
    "with a type": (part(b"model", b"a", headers=b"Content-Type: text/plain\r\n") + END, "a"),
    "in UTF-8": (part(b"model", "日本 語".encode()) + END, "日本 語"),
    "newlines before": (b"\r\n\r\n" + MODEL + END, "whisper"),
    "more behind": (MODEL + END + b"anything", "whisper"),
    "a file that is named model": (part(b"model", b"x", b'; filename="m"') + MODEL + END, "whisper"),
    "a part without a name": (b"--xyz\r\nx-y: z\r\n\r\nmodel\r\n" + MODEL + END, "whisper"),
    "1024 parts": (part(b"a", b"b") * (MAX_PARTS - 1) + MODEL + END, "whisper"),
    "no such part": (FILE + END, MISSING),
    "no part": (END, MISSING),
    "an empty name": (part(b"model", b"") + END, MISSING),
    "twice": (MODEL + MODEL + END, DUPLICATE),
    "twice, then no end": (MODEL + FILE + MODEL, DUPLICATE),
    "a space at its end": (part(b"model", b"a ") + END, unknown_model("a ")),
    "a newline within": (part(b"model", b"a\r\nb") + END, unknown_model("a\r\nb")),
    "257 bytes": (part(b"model", b"a" * 257) + END, unknown_model("a" * 257)),
    "1537 bytes": (part(b"model", b"\xff" * 1_537), unknown_model("")),
    "no UTF-8": (part(b"model", b"\xff") + END, INVALID),
    "no end": (MODEL + b"--xyz", INVALID),
    "nothing but newlines": (b"\r\n\r\n", INVALID),
    "JSON": (b'{"model":"whisper"}', INVALID),
    "another boundary": (MODEL.replace(b"xyz", b"xyy") + b"--xyy--", INVALID),
    "a header that is none": (b"--xyz\r\nno header\r\n\r\na\r\n" + MODEL + END, INVALID),
    "text before": (b"\r\ntext\r\n" + MODEL + END, INVALID),
    "1025 parts": (part(b"a", b"b") * MAX_PARTS + MODEL + END, TOO_COMPLEX),
    "long headers": (
        part(b"a", b"", headers=b"x: " + b"y" * MAX_HEADER_BYTES + b"\r\n") + MODEL + END,
        INVALID,
    ),
    "many headers": (part(b"a", b"", headers=b"x: yyyyyyyy\r\n" * 2_000) + MODEL + END, INVALID),
}


@pytest.mark.parametrize(("body", "answer"), CASES.values(), ids=CASES.keys())
def test_rules(body: bytes, answer: str | ApiError) -> None:
    """A body is answered by the first rule that it breaks, read at once or in pieces."""
    sizes = [len(body), 16_384, 1_000] + ([1, 2, 3, 7] if len(body) < 20_000 else [])
    assert [read(FormBody(TYPE), pieces(body, size)) for size in sizes] == [answer] * len(sizes)


@given(st.data())
def test_any_chunking_gives_the_same_answer(data: st.DataObject) -> None:
    """Envoy and TCP may cut anywhere."""
    body = data.draw(st.sampled_from([body for body, _ in CASES.values() if len(body) < 2_000]))
    assert read(FormBody(TYPE), data.draw(chunks(body))) == read(FormBody(TYPE), [body])


@given(st.data())
def test_any_bytes_give_the_same_answer_in_any_chunking(data: st.DataObject) -> None:
    """Boundaries and what only looks like one."""
    fragments = [
        MODEL,
        FILE,
        END,
        b"\r",
        b"\n",
        b"-",
        b"--",
        b"--xyz",
        b"\r\n--xyz",
        b"\r\n--xyz\r",
        b" ",
        b"a",
        b":",
    ]
    body = b"".join(data.draw(st.lists(st.sampled_from(fragments), max_size=12)))
    assert read(FormBody(TYPE), data.draw(chunks(body))) == read(FormBody(TYPE), [body])


@pytest.mark.parametrize(
    "content_type",
    [
        "multipart/form-data",
        "multipart/form-data; boundary=",
        'multipart/form-data; boundary=""',
        TYPE + "x" * 68,
    ],
    ids=["none", "empty", "empty in quotes", "71 characters"],
)
def test_a_type_without_a_boundary(content_type: str) -> None:
    """RFC 2046, 5.1.1: 1 to 70 characters."""
    with pytest.raises(Refusal) as refusal:
        FormBody(content_type)
    assert refusal.value.error == INVALID


def test_nothing_of_a_file_is_held() -> None:
    """A file of 32 MiB costs a few kilobytes."""
    reader, bulk = FormBody(TYPE), b"\r\n--xy" + b"\0" * 16_378
    reader.feed(MODEL + FILE[:150])
    tracemalloc.start()
    for _ in range(2_048):
        reader.feed(bulk)
    held, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 4_096
    assert peak < 65_536
