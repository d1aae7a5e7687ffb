"""What requests used: this project's extension. A question of the caller's organisation in, the collector's answer out.

The numbers are not in the store: they come through `Source` from the usage collector (docs/usage.md).
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

from igw_model.document import FieldError

from igw_api.caller import Caller
from igw_api.document import Document, identifier, unknown
from igw_api.failure import Code, RefusedError
from igw_api.methods import Method
from igw_api.moments import moment_of, moment_text
from igw_api.refusal import invalid

GROUPS = ("model", "project", "principal", "deployment")
INTERVALS = ("minute", "hour", "day")
EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)


class Source(Protocol):
    """Where usage is known."""

    async def usage(self, question: Mapping[str, str]) -> dict[str, Any]:
        """Answer a question. Raises RefusedError."""


class NoSource:
    """An installation that collects no usage."""

    async def usage(self, question: Mapping[str, str]) -> dict[str, Any]:  # noqa: ARG002 - the protocol's
        """Know nothing."""
        raise RefusedError(
            Code.UNIMPLEMENTED, "this installation shows no usage: its control plane runs without --usage-url"
        )


Ask = Callable[[Caller, Document], Awaitable[dict[str, Any]]]


@dataclass(frozen=True, slots=True)
class Usage:
    """The operation on usage."""

    source: Source

    @property
    def methods(self) -> Mapping[Method, Ask]:
        """Give the method and what answers it."""
        return {Method.GET_USAGE: self.get}

    async def get(self, caller: Caller, document: Document) -> dict[str, Any]:
        """Answer GetUsage.

        An unknown `gatewayId` is no error: the usage of a gateway outlives it, and within an organisation there is
        nothing to hide.
        """
        return await self.source.usage(question(caller, document))


def question(caller: Caller, document: Document) -> dict[str, str]:
    """Give the collector's question for a call. Raises RefusedError that names each field that breaks a rule."""
    errors = unknown(document, tuple(_RULES))
    asked = {}
    for name, (rule, reason) in _RULES.items():
        if name in document:
            asked[name] = _obeyed(rule, document[name])
            if not asked[name]:
                errors.append(FieldError(name, reason))
    if errors:
        raise invalid(errors)
    if {"from", "to"} <= asked.keys() and asked["from"][:16] >= asked["to"][:16]:
        raise invalid([FieldError("from", "must be before to, by a minute at least")])
    return {"organizationId": caller.organization_id, **asked}


Rule = Callable[[str], str | None]
"""A text in; its normal spelling, or nothing where it breaks the rule, out."""


def _obeyed(rule: Rule, value: Any) -> str:
    return (rule(value) or "") if isinstance(value, str) else ""


def _moment(text: str) -> str | None:
    found = moment_of(text)
    return None if found is None or found < EARLIEST else moment_text(found)


def _one_of(names: tuple[str, ...]) -> tuple[Rule, str]:
    return (lambda text: text if text in names else None), f"must be one of {', '.join(names)}"


_TIME = (_moment, "must be an RFC 3339 time such as 2026-01-31T08:00:00Z, from 1970 on")
_RULES: Mapping[str, tuple[Rule, str]] = {
    "gatewayId": (identifier, "must be a UUID"),
    "from": _TIME,
    "to": _TIME,
    "groupBy": _one_of(GROUPS),
    "interval": _one_of(INTERVALS),
}
