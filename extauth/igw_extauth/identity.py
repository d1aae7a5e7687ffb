"""Whose token it is: a principal, or why there is none. Values only."""

from dataclasses import dataclass

MAX_NAME_LENGTH = 256
"""Characters of a principal's or an organisation's name; an answer with a longer one is not believed."""


@dataclass(frozen=True, slots=True)
class Principal:
    """Who calls: the name that its authority gave, and every organisation it belongs to."""

    name: str
    organizations: frozenset[str]
    """With W&B: the user's own entity and all teams."""
    entity: str = ""
    """W&B's default entity, which requests without ``OpenAI-Project`` are attributed to; one of `organizations`."""


@dataclass(frozen=True, slots=True)
class Known:
    """The authority vouches for the token."""

    principal: Principal


@dataclass(frozen=True, slots=True)
class Unknown:
    """The authority does not know the token, or the token cannot be one of its own."""


@dataclass(frozen=True, slots=True)
class Unavailable:
    """The authority did not say; `reason` is a fixed text of ours and never quotes what it sent."""

    reason: str


Identity = Known | Unknown | Unavailable
