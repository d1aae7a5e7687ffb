"""Bytes cut into chunks, always the same for the same bytes: what is read may not hang on where a packet ends."""

import itertools
import random
import zlib
from collections.abc import Iterator

_CUTS = 6
_BYTE_BY_BYTE = 512
"""Longer inputs are not cut so: it would take most of the time."""


def chunkings(data: bytes) -> Iterator[list[bytes]]:
    """Give the bytes as one chunk, in two halves, cut at some places, and byte by byte if they are few."""
    yield [data]
    draw = random.Random(zlib.crc32(data))  # noqa: S311 - the same each time
    for count in (1, _CUTS):
        yield cut(data, sorted(draw.randint(0, len(data)) for _ in range(count)))
    if len(data) <= _BYTE_BY_BYTE:
        yield [data[at : at + 1] for at in range(len(data))]


def cut(data: bytes, cuts: list[int]) -> list[bytes]:
    """Give the bytes cut at the places."""
    return [data[start:end] for start, end in itertools.pairwise([0, *cuts, len(data)])]
