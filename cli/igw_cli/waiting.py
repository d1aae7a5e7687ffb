"""Waiting for objects: until each is READY or has failed, or until each is gone. Clock and pause are arguments."""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.status import Status

from igw_cli.client import Client, Exit, FailedError
from igw_cli.objects import Kind, Object, got, listed, phase, same_id, troubles
from igw_cli.show import plain

POLL_SECONDS = 0.3
ONE_BY_ONE = 10
"""Up to so many objects of a kind are asked for each by itself; more with one list."""

_ENDS = {"READY", "ERROR", "FAILED"}


@dataclass(frozen=True, slots=True)
class Awaited:
    """An object that is waited for."""

    kind: Kind
    id: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind.name}/{self.name}"


def until_settled(
    client: Client, awaited: Sequence[Awaited], seconds: float, console: Console, pause: float = POLL_SECONDS
) -> None:
    """Wait until each is READY. Raises FailedError (UNFINISHED) for any that fails or is not in time."""
    last: dict[Awaited, Object | None] = {}
    failed: list[str] = []

    def look(pending: list[Awaited]) -> list[Awaited]:
        last.update(_present(client, pending))
        for one in pending:
            state = last[one]
            if state is None:
                failed.append(f"{one} is gone")
            elif phase(state) == "READY":
                console.print(plain(f"{one} is READY"), markup=False)
            elif phase(state) in _ENDS:
                failed.append(_told(one, state))
        return [one for one in pending if (state := last[one]) is not None and phase(state) not in _ENDS]

    left = _poll(look, awaited, seconds, console, pause)
    failed += [f"{_told(one, last[one])} (after {seconds:g} s)" for one in left]
    if failed:
        raise FailedError("\n".join(failed), Exit.UNFINISHED)


def until_gone(
    client: Client, awaited: Sequence[Awaited], seconds: float, console: Console, pause: float = POLL_SECONDS
) -> None:
    """Wait until none is found any more. Raises FailedError (UNFINISHED)."""

    def look(pending: list[Awaited]) -> list[Awaited]:
        present = _present(client, pending)
        for one in pending:
            if present[one] is None:
                console.print(plain(f"{one} is gone"), markup=False)
        return [one for one in pending if present[one] is not None]

    if left := _poll(look, awaited, seconds, console, pause):
        names = ", ".join(map(str, left))
        raise FailedError(f"still being deleted after {seconds:g} s: {names}", Exit.UNFINISHED)


def _poll(
    look: Callable[[list[Awaited]], list[Awaited]],
    awaited: Iterable[Awaited],
    seconds: float,
    console: Console,
    pause: float,
) -> list[Awaited]:
    deadline = time.monotonic() + seconds
    pending = list(awaited)
    with _spinner(console) as spinner:
        while pending := look(pending):
            spinner.update(f"waiting for {len(pending)}: {plain(str(pending[0]))}")
            if time.monotonic() >= deadline:
                return pending
            time.sleep(pause)
    return []


def _spinner(console: Console) -> Status:
    """Give a spinner; Rich shows it on a terminal only."""
    return console.status("waiting")


def _present(client: Client, pending: Sequence[Awaited]) -> dict[Awaited, Object | None]:
    present: dict[Awaited, Object | None] = {}
    for kind in {one.kind for one in pending}:
        ours = [one for one in pending if one.kind is kind]
        if len(ours) > ONE_BY_ONE:
            everything = {str(o["spec"]["id"]).lower(): o for o in listed(client, kind)}
            present |= {one: everything.get(one.id.lower()) for one in ours}
        else:
            present |= {one: _one(client, one) for one in ours}
    return present


def _one(client: Client, one: Awaited) -> Object | None:
    try:
        thing = got(client, one.kind, one.id)
    except FailedError as error:
        if error.status is Exit.NOT_FOUND:
            return None
        raise
    return thing if same_id(thing["spec"].get("id"), one.id) else None


def _told(one: Awaited, state: Object | None) -> str:
    if state is None:
        return f"{one} is gone"
    return "\n  ".join([f"{one} is {phase(state)}", *troubles(state)])
