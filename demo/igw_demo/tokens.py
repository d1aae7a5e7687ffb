"""The demo's credentials: made at start from given randomness, kept in a file that only its owner can read.

File: ``{"coreweave": {token, uid, organization}, "wandb": {token, username, entity, teams}, "others":
[{"coreweave": {...}}, {"wandb": {...}}]}``. Tokens never show in a `repr` and never go on a command line.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, assert_never

from igw_ops.private import write_private

ORGANIZATION = "demo-org"
OTHER_ORGANIZATION = "other-org"


@dataclass(frozen=True, slots=True)
class CoreWeaveToken:
    """A CoreWeave API access token, and the principal and organisation that it belongs to."""

    token: str = field(repr=False)
    uid: str
    organization: str

    def document(self) -> dict[str, Any]:
        """Give the JSON object ``{token, uid, organization}``."""
        return {"token": self.token, "uid": self.uid, "organization": self.organization}


@dataclass(frozen=True, slots=True)
class WandbToken:
    """A W&B API key, its user, the user's default entity, and all teams that the user is in."""

    token: str = field(repr=False)
    username: str
    entity: str
    teams: tuple[str, ...]

    def document(self) -> dict[str, Any]:
        """Give the JSON object ``{token, username, entity, teams}``."""
        return {
            "token": self.token,
            "username": self.username,
            "entity": self.entity,
            "teams": list(self.teams),
        }


DemoToken = CoreWeaveToken | WandbToken


@dataclass(frozen=True, slots=True)
class DemoTokens:
    """One token of each authority for the demo's organisation, and `others` that belong elsewhere (403)."""

    coreweave: CoreWeaveToken
    wandb: WandbToken
    others: tuple[DemoToken, ...] = ()

    def all(self) -> tuple[DemoToken, ...]:
        """Give every token."""
        return (self.coreweave, self.wandb, *self.others)

    def save(self, path: Path) -> None:
        """Write the file anew, for its owner alone; a link in its place is replaced."""
        write_private(path, json.dumps(self._document(), indent=2))

    @classmethod
    def load(cls, path: Path) -> "DemoTokens":
        """Read a file that `save` wrote; raises OSError, and ValueError with its path for any other content."""
        try:
            return cls._of(json.loads(path.read_text(encoding="utf-8")))
        except ValueError as error:
            raise ValueError(f"{path} is no file of tokens (removed, it is made anew): {error}") from None

    @classmethod
    def _of(cls, document: Any) -> "DemoTokens":
        match document:
            case {"coreweave": coreweave, "wandb": wandb}:
                others = document.get("others", [])
                return cls(_coreweave(coreweave), _wandb(wandb), tuple(token_of(other) for other in others))
            case _:
                raise ValueError("a token file has the keys coreweave and wandb")

    def _document(self) -> dict[str, Any]:
        return {
            "coreweave": self.coreweave.document(),
            "wandb": self.wandb.document(),
            "others": [token_document(other) for other in self.others],
        }


def demo_tokens(token_urlsafe: Callable[[int], str], organization: str = ORGANIZATION) -> DemoTokens:
    """Make tokens of the real shapes; `token_urlsafe` is that of `secrets`.

    The W&B entity has the organisation's name: the demo's gateways of both kinds belong to one organisation.
    """

    def coreweave(uid: str, owner: str) -> CoreWeaveToken:
        return CoreWeaveToken(f"CW-SECRET-{token_urlsafe(32)}", uid, owner)

    def wandb(username: str, owner: str) -> WandbToken:
        return WandbToken(f"wandb_v1_{token_urlsafe(48)}", username, owner, (owner,))

    return DemoTokens(
        coreweave=coreweave("demo-user", organization),
        wandb=wandb("demo-user", organization),
        others=(coreweave("other-user", OTHER_ORGANIZATION), wandb("other-user", OTHER_ORGANIZATION)),
    )


def kept_tokens(path: Path, token_urlsafe: Callable[[int], str]) -> DemoTokens:
    """Give the tokens of a file, which is made where it is missing. Raises OSError and ValueError."""
    if not path.exists():
        demo_tokens(token_urlsafe).save(path)
    return DemoTokens.load(path)


def token_of(document: Any) -> DemoToken:
    """Read one token, ``{"coreweave": {...}}`` or ``{"wandb": {...}}``; raises ValueError."""
    match document:
        case {"coreweave": Mapping() as fields, **rest} if not rest:
            return _coreweave(fields)
        case {"wandb": Mapping() as fields, **rest} if not rest:
            return _wandb(fields)
        case _:
            raise ValueError('a token is {"coreweave": {...}} or {"wandb": {...}}')


def token_document(token: DemoToken) -> dict[str, Any]:
    """Give the JSON object that `token_of` reads."""
    match token:
        case CoreWeaveToken():
            return {"coreweave": token.document()}
        case WandbToken():
            return {"wandb": token.document()}
        case _:
            assert_never(token)


def _coreweave(fields: Any) -> CoreWeaveToken:
    match fields:
        case {"token": str(token), "uid": str(uid), "organization": str(organization)}:
            return CoreWeaveToken(token, uid, organization)
        case _:
            raise ValueError("a CoreWeave token has token, uid and organization")


def _wandb(fields: Any) -> WandbToken:
    match fields:
        case {"token": str(token), "username": str(username), "entity": str(entity)}:
            return WandbToken(token, username, entity, tuple(fields.get("teams", [entity])))
        case _:
            raise ValueError("a W&B token has token, username and entity")
