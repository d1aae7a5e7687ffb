"""Reading the bearer token, and keeping it to itself."""

import copy
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st
from igw_extauth.attempt import bearer_token, project_text
from igw_extauth.secret import BearerToken
from igw_model.bearer import MAX_TOKEN_LENGTH

TWO_OR_NONE = [[], ["Bearer a", "Bearer b"], ["Bearer a", "Bearer a"], ["Bearer a", ""]]
ANY_TEXT = st.one_of(
    st.text(), st.text().map("Bearer {}".format), st.binary().map(lambda octets: octets.decode("latin-1"))
)
SCHEMES = st.sampled_from(["Bearer", "bearer", "bEARER"])
B64TOKEN = st.text(
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~+/", min_size=1, max_size=300
)


@pytest.mark.parametrize(
    ("header", "token"),
    [
        ("Bearer abc", "abc"),
        ("bearer abc", "abc"),
        ("BEARER abc", "abc"),
        ("Bearer    abc", "abc"),
        ("  Bearer abc \t", "abc"),
        ("Bearer abc==", "abc=="),
        ("Bearer " + "a" * MAX_TOKEN_LENGTH, "a" * MAX_TOKEN_LENGTH),
        ("", None),
        ("Bearer", None),
        ("Bearer ", None),
        ("Bearer     ", None),
        ("Bearerabc", None),
        ("abc", None),
        ("Basic YXBpOmtleQ==", None),
        ("Bearer a,Bearer b", None),
        ("Bearer a, Bearer b", None),
        ("Bearer a,b", None),
        ("Bearer a b", None),
        ("Bearer a\tb", None),
        ("Bearer\tabc", None),
        ("Bearer a\r\nx: y", None),
        ("Bearer abc\n", None),
        ("Bearer ábc", None),
        ("Bearer a=b", None),
        ("Bearer " + "a" * (MAX_TOKEN_LENGTH + 1), None),
        ("Bearer " + "a" * 8192, None),
        ("Bearer " + "a" * 1_000_000, None),
    ],
)
def test_one_bearer_token_or_none(header: str, token: str | None) -> None:
    """A header gives the one token it holds; anything that could be read in two ways gives none."""
    assert bearer_token([header]) == (None if token is None else BearerToken(token))


@pytest.mark.parametrize("headers", TWO_OR_NONE)
def test_other_than_one_header_is_no_token(headers: list[str]) -> None:
    """Two headers are no token: the one we check might not be the one that is used."""
    assert bearer_token(headers) is None


@pytest.mark.parametrize(
    ("values", "project"),
    [
        ([], None),
        ([""], None),
        (["  "], None),
        (["team/p"], "team/p"),
        ([" team/p\t"], "team/p"),
        (["team/p", "team/q"], "team/p,team/q"),
        (["", ""], ","),
    ],
)
def test_the_project_is_what_was_sent(values: list[str], project: str | None) -> None:
    """One value is the project; several are joined, as Envoy joins them over gRPC, and name none."""
    assert project_text(values) == project


@given(B64TOKEN, SCHEMES, st.integers(1, 9), st.text(" \t", max_size=4))
def test_every_b64token_is_read(token: str, scheme: str, spaces: int, around: str) -> None:
    """Any token of RFC 6750's alphabet comes back as sent, whatever the case of the scheme and the spaces."""
    header = f"{around}{scheme}{' ' * spaces}{token}{around}"
    assert bearer_token([header]) == BearerToken(token)


@given(ANY_TEXT)
def test_no_text_breaks_the_reader(header: str) -> None:
    """Any text gives None or a token of visible ASCII out of the text: it can be put in a header again."""
    token = bearer_token([header])
    if token is not None:
        assert token.reveal() in header
        assert token.reveal().isascii()
        assert not set(token.reveal()) & set(" \t\r\n,;\"'\0")


def test_a_token_does_not_show_itself() -> None:
    """No way in which a value gets into a log or a file by accident shows the secret."""
    token = BearerToken("s3cret")
    shown = [repr(token), str(token), f"{token}", f"{token!r:>40}", repr([token]), repr({token: 1})]
    assert not [text for text in shown if "s3" in text]
    with pytest.raises(TypeError):
        pickle.dumps(token)
    with pytest.raises(TypeError):
        copy.copy(token)
