"""How the demo's authority is made to misbehave: what may be asked for, what is in force, and for whose call.

In: the JSON of ``POST /demo/fault``. Out: what a call then meets, as a closed union. Nothing is answered here.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

MAX_DELAY_MS = 60_000
MAX_BODY_BYTES = 1 << 30
REDIRECTED = "/demo/redirected"
"""Where a redirect leads unless it says otherwise: calls that follow it are counted there."""


class Call(StrEnum):
    """What the authority is asked for."""

    WHOAMI = "whoami"
    GRAPHQL = "graphql"
    LIMITS = "limits"
    REPORTS = "reports"


Status = Annotated[int, Meta(ge=400, le=599)]
Count = Annotated[int, Meta(ge=1, le=1_000_000)]


class _Fault(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind"):
    """What every fault has: how late it is, which calls it is for, and whose (None: everybody's)."""

    delay_ms: Annotated[int, Meta(ge=0, le=MAX_DELAY_MS)] = 0
    calls: tuple[Call, ...] = (Call.WHOAMI, Call.GRAPHQL)
    tokens: tuple[str, ...] | None = None

    def __repr__(self) -> str:
        """Show no tokens."""
        return type(self).__name__


class Slow(_Fault, frozen=True, tag="slow"):
    """The right answer, late; without a delay, all is well."""


class Failing(_Fault, frozen=True, tag="status", kw_only=True):
    """A status that is an error's."""

    status: Status


class Flapping(_Fault, frozen=True, tag="flapping", kw_only=True):
    """Of each `of` calls the first `fails` fail."""

    fails: Count
    of: Count
    status: Status = 503

    def __post_init__(self) -> None:
        """Refuse what is not a part of a whole."""
        if self.fails > self.of:
            raise ValueError("`fails` must not be more than `of`")


class Redirecting(_Fault, frozen=True, tag="redirect", kw_only=True):
    """A redirect; whoever follows it takes the token there."""

    status: Literal[301, 302, 303, 307, 308] = 307
    location: str = REDIRECTED


class WrongJson(_Fault, frozen=True, tag="wrong_json", kw_only=True):
    """200 with JSON of another shape, or with any other text."""

    body: str = '{"principal": ["nobody"], "data": {"viewer": 7}, "concurrency": "many"}'


class Huge(_Fault, frozen=True, tag="huge", kw_only=True):
    """200 with a JSON string of so many bytes, in pieces and without a length."""

    size: Annotated[int, Meta(ge=1, le=MAX_BODY_BYTES)] = 64 * 1024 * 1024


class HangingUp(_Fault, frozen=True, tag="hang_up"):
    """The head of an answer, and then the connection's end."""


class Unknowing(_Fault, frozen=True, tag="invalid"):
    """Tokens are answered as if nobody had them."""


Fault = Slow | Failing | Flapping | Redirecting | WrongJson | Huge | HangingUp | Unknowing


def fault_of(document: Any) -> Fault | None:
    """Read a fault, or None for ``{}``; without a `kind` it is `status` or `slow`.

    Raises ValueError, which names what is wrong.
    """
    if not isinstance(document, dict):
        raise ValueError("a fault is an object")  # noqa: TRY004 - of a request
    if not document:
        return None
    kind = "status" if document.get("status") is not None else "slow"
    try:
        fault: Fault = msgspec.convert({"kind": kind} | document, Fault)
    except msgspec.ValidationError as error:
        raise ValueError(str(error)) from None
    return fault


@dataclass(frozen=True, slots=True)
class _InForce:
    fault: Fault
    numbers: Iterator[int] = field(default_factory=itertools.count)


class Faults:
    """Those in force. One for a token goes before one for all; a later one takes the place of an earlier."""

    def __init__(self) -> None:
        self._in_force: dict[tuple[Call, str | None], _InForce] = {}

    def __len__(self) -> int:
        """Give how many there are, each call and token counted."""
        return len(self._in_force)

    def change(self, fault: Fault | None) -> None:
        """Put one in force; None ends all."""
        if fault is None:
            self._in_force.clear()
            return
        new = _InForce(fault)
        for call in fault.calls:
            for token in (None,) if fault.tokens is None else fault.tokens:
                self._in_force[call, token] = new

    def met(self, call: Call, token: str) -> Fault:
        """Give what the next call of a token meets; one that flaps is `Failing` by turns."""
        found = self._in_force.get((call, token)) or self._in_force.get((call, None))
        match found:
            case None:
                return Slow()
            case _InForce(Flapping(fails=fails, of=of) as fault, numbers):
                if next(numbers) % of < fails:
                    return Failing(delay_ms=fault.delay_ms, status=fault.status)
                return Slow(delay_ms=fault.delay_ms)
            case _InForce(fault):
                return fault
