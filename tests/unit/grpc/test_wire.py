"""gRPC's bytes: prefixes, statuses and texts as any HPACK decoder and any client reads them."""

from urllib.parse import unquote

from hypothesis import given
from hypothesis import strategies as st
from igw_ops.grpc import wire
from igw_ops.grpc.wire import GrpcStatus

from tests.unit.grpc.talk import decoded


def test_a_prefix_is_a_flag_and_a_length() -> None:
    """Length-Prefixed-Message: one byte that says uncompressed, four of length, big endian."""
    assert wire.prefix(0x01020304) == b"\x00\x01\x02\x03\x04"


def test_the_headers_of_an_answer() -> None:
    """Response-Headers: 200, gRPC's content type, and that messages may not be compressed."""
    assert decoded(wire.RESPONSE_HEADERS) == {
        ":status": "200",
        "content-type": "application/grpc",
        "grpc-accept-encoding": "identity",
    }
    assert decoded(wire.UNSUPPORTED_MEDIA_TYPE) == {":status": "415"}


@given(st.sampled_from(GrpcStatus), st.text(max_size=300))
def test_trailers_carry_any_text(status: GrpcStatus, text: str) -> None:
    """grpc-message is percent-encoded UTF-8 of visible ASCII, whatever its length; none when there is no text."""
    text = text.encode("utf-8", "replace").decode()
    told = decoded(wire.trailers(status, text))
    assert told["grpc-status"] == str(status.value)
    said = told.get("grpc-message", "")
    assert all(" " <= character <= "~" for character in said)
    assert unquote(said) == text


def test_a_text_is_cut() -> None:
    """Clients bound what they read of headers: a long text may not cost them the status."""
    told = decoded(wire.trailers(GrpcStatus.INTERNAL, "é" * 10_000))
    assert len(told["grpc-message"]) < 8_000
