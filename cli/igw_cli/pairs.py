"""Key pairs as people and programs read them: for which hosts, until when, and what is wrong. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, assert_never

from igw_certs.folder import Bad
from igw_certs.pair import KeyPair
from rich.table import Table
from rich.text import Text

from igw_cli.show import cell, columns, put
from igw_cli.times import minute, rfc3339

SOON = timedelta(days=14)


class State(StrEnum):
    """How a pair is; the last three make `igw certs show` fail."""

    GOOD = "good"
    SOON = "ends soon"
    EARLY = "not valid yet"
    EXPIRED = "expired"
    BROKEN = "broken"


_COLOURS = {State.GOOD: "green", State.SOON: "yellow"}


@dataclass(frozen=True, slots=True)
class Row:
    """What is to be said of one pair."""

    name: str
    hosts: tuple[str, ...]
    uris: tuple[str, ...]
    """Of one that is a process's."""
    not_before: datetime | None
    not_after: datetime | None
    days: int | None
    """Whole days left; below 0 once it is expired."""
    state: State
    trouble: str = ""

    @property
    def servable(self) -> bool:
        """Say whether clients would take it now."""
        return self.state in _COLOURS


def row(name: str, found: KeyPair | Bad, now: datetime) -> Row:
    """Give what is to be said of a pair at a time."""
    match found:
        case Bad(reason):
            return Row(name, (), (), None, None, None, State.BROKEN, reason)
        case KeyPair():
            days = days_left(found.not_after, now)
            state = _state(found, now) if found.names or found.uris else State.BROKEN
            trouble = "it is for no DNS name, and nobody's of ours" if state is State.BROKEN else ""
            return Row(name, found.names, found.uris, found.not_before, found.not_after, days, state, trouble)
        case other:
            assert_never(other)


def _state(pair: KeyPair, now: datetime) -> State:
    state = ending(pair.not_after, now)
    return State.EARLY if pair.not_before > now and state is not State.EXPIRED else state


def ending(not_after: datetime, now: datetime) -> State:
    """Say how a certificate is by its end alone."""
    if not_after <= now:
        return State.EXPIRED
    return State.SOON if not_after - now < SOON else State.GOOD


def days_left(not_after: datetime, now: datetime) -> int:
    """Give the whole days until a time; below 0 behind it."""
    return (not_after - now) // timedelta(days=1)


def table(rows: Sequence[Row]) -> Table:
    """Give pairs as a table."""
    shown = columns("NAME", "HOST NAMES", "NOT AFTER", "DAYS LEFT", "STATE")
    for one in rows:
        put(
            shown,
            one.name,
            ", ".join((*one.uris, *one.hosts)),
            "" if one.not_after is None else minute(one.not_after),
            "" if one.days is None else one.days,
            _told_state(one),
        )
    return shown


def _told_state(one: Row) -> Text:
    return cell(f"{one.state}: {one.trouble}" if one.trouble else one.state, _COLOURS.get(one.state, "red"))


def document(one: Row) -> dict[str, Any]:
    """Give a row for programs."""
    return {
        "name": one.name,
        "hostNames": one.hosts,
        "uris": one.uris,
        "notBefore": None if one.not_before is None else rfc3339(one.not_before),
        "notAfter": None if one.not_after is None else rfc3339(one.not_after),
        "daysLeft": one.days,
        "state": one.state,
        "trouble": one.trouble,
    }
