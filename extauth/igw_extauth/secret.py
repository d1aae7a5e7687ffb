"""A caller's secret as a type that does not show itself: not in ``repr``, ``str``, logs or pickles."""

from typing import NoReturn


class BearerToken:
    """A bearer token; only `reveal` gives the secret, so every place that reads it can be searched for."""

    __slots__ = ("_secret",)

    def __init__(self, secret: str) -> None:
        self._secret = secret

    def reveal(self) -> str:
        """Give the secret, to send it to its authority or to hash it; never to log it."""
        return self._secret

    def __repr__(self) -> str:
        return "BearerToken(hidden)"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, BearerToken) and self._secret == other._secret

    def __hash__(self) -> int:
        return hash(self._secret)

    def __reduce__(self) -> NoReturn:
        raise TypeError("a bearer token is never pickled or copied out of the process")
