"""Reading a body in chunks of any size; what the tests of both readers share."""

import itertools
from collections.abc import Iterable
from typing import Protocol

from hypothesis import strategies as st
from igw_extproc.model_name import ModelName, Refusal
from igw_model.openai import ApiError


class Reader(Protocol):
    """A body's reader."""

    def feed(self, data: bytes) -> None:
        """Read on."""

    def end(self) -> ModelName:
        """Give the model."""
        ...


def read(reader: Reader, chunks: Iterable[bytes]) -> str | ApiError:
    """Give the model's name, or the error."""
    try:
        for chunk in chunks:
            reader.feed(chunk)
        return reader.end().text
    except Refusal as refusal:
        return refusal.error


def pieces(body: bytes, size: int) -> Iterable[bytes]:
    """Cut a body into pieces of one size."""
    return (body[at : at + size] for at in range(0, len(body), size))


@st.composite
def chunks(draw: st.DrawFn, body: bytes) -> list[bytes]:
    """Cut a body anywhere."""
    cuts = draw(st.lists(st.integers(0, len(body)), max_size=12))
    edges = [0, *sorted(cuts), len(body)]
    return [body[start:end] for start, end in itertools.pairwise(edges)]


def varint(value: int) -> bytes:
    """Give a number in protobuf's encoding."""
    text = b""
    while value > 0x7F:
        text += bytes([value & 0x7F | 0x80])
        value >>= 7
    return text + bytes([value])
