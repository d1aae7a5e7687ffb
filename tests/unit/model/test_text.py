"""Host names have one spelling (RFC 9110, section 4.2.3; RFC 4343)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from igw_model.text import normal_host

LABELS = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,10}[a-z0-9])?", fullmatch=True)
HOSTS = st.lists(LABELS, min_size=1, max_size=4).map(".".join)


@pytest.mark.parametrize(
    ("spelling", "normal"),
    [
        ("chat.example.com", "chat.example.com"),
        ("Chat.EXAMPLE.com", "chat.example.com"),
        ("chat.example.com.", "chat.example.com"),
        ("chat.example.com:8080", "chat.example.com"),
        ("CHAT.example.com.:443", "chat.example.com"),
        ("localhost", "localhost"),
        ("127.0.0.1:80", "127.0.0.1"),
        ("[2001:DB8::1]:443", "[2001:db8::1]"),
        ("[::1]", "[::1]"),
        ("", ""),
    ],
)
def test_the_one_spelling_of_a_host_name(spelling: str, normal: str) -> None:
    """Letter case, a port and a trailing dot make no other name."""
    assert normal_host(spelling) == normal


@given(host=HOSTS, port=st.none() | st.integers(0, 65535), dot=st.booleans(), upper=st.lists(st.booleans()))
def test_every_spelling_is_the_same_name(
    host: str, port: int | None, *, dot: bool, upper: list[bool]
) -> None:
    """Any mixture of case, with or without port and dot, is the name itself; and it stays as it is."""
    mixed = "".join(c.upper() if i < len(upper) and upper[i] else c for i, c in enumerate(host))
    spelling = mixed + ("." if dot else "") + ("" if port is None else f":{port}")
    assert normal_host(spelling) == host
    assert normal_host(host) == host
