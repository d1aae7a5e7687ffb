"""What operations ports answered in, what of an installation is well and what needs a look out. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from igw_cli.pairs import State, days_left, ending
from igw_cli.show import age, moment
from igw_cli.times import minute, rfc3339

SHOWN = 20
"""Troubles of one part that are told."""
HOSTS = 3
"""Host names of a certificate that are told with its trouble."""


@dataclass(frozen=True, slots=True)
class Process:
    """One process of ours as its operations port shows it, or why it does not."""

    url: str
    name: str = ""
    """What it should be, where it was looked for without having been named; '' for one that must be there."""
    failure: str = ""
    """Why it cannot be reached, or is not ready."""
    status: Mapping[str, Any] = field(default_factory=dict)
    """What its `/status` answered."""
    not_after: datetime | None = None
    """When its certificate of mutual TLS ends; None without one."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """What needs a look, and why; `name` is '' where it is the part itself."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class Part:
    """One part of an installation."""

    name: str
    told: str
    """How it is, on one line."""
    troubles: tuple[Trouble, ...] = ()
    omitted: int = 0
    """Troubles beyond these."""
    document: Any = None
    """The same for programs."""
    known: bool = True
    """Whether anything is known of it."""

    @property
    def well(self) -> bool:
        """Say whether nothing that is known of it needs a look."""
        return not self.troubles


def parts(plane: Process, services: Sequence[Process], now: datetime) -> list[Part]:
    """Give an installation part by part; what only the control plane knows is left out where it says nothing."""
    status = plane.status
    known = (
        []
        if not status
        else [
            _objects("gateways", status["gateways"]),
            _objects("deployments", status["deployments"]),
            _proxies(status),
            _certificates(status["certificates"], now),
        ]
    )
    return [_plane(plane, now), *known, _services(services, now)]


def _part(name: str, told: str, troubles: Sequence[Trouble], document: Any, more: int = 0) -> Part:
    omitted = max(0, len(troubles) - SHOWN) + more
    return Part(name, told, tuple(troubles[:SHOWN]), omitted, document)


def _plane(plane: Process, now: datetime) -> Part:
    status = plane.status
    started, store = moment(status.get("startedAt")), status.get("store") or "in memory"
    told = [
        "ready" if not plane.failure else "not ready",
        f"version {status.get('version', '?')}",
        *([f"up {age((now - started).total_seconds())}"] if started else []),
        f"store {store}",
        *(f"definitions {path}" for path in status.get("files", ())),
    ]
    troubles = [
        *([Trouble("", plane.failure)] if plane.failure else []),
        *([Trouble("store", failure)] if (failure := status.get("storeFailure")) else []),
        *(Trouble("definitions", error) for error in status.get("definition_errors", ())),
        *_own_certificate("", plane, now),
    ]
    document = {
        "url": plane.url,
        "ready": not plane.failure,
        **{key: status[key] for key in ("version", "startedAt", "store", "files") if key in status},
        "certificateNotAfter": _time(plane.not_after),
    }
    return _part("control plane", ", ".join(told) if status else plane.url, troubles, document)


def _objects(kind: str, found: Mapping[str, Any]) -> Part:
    troubles = [
        Trouble(
            "/".join(filter(None, (item["organizationId"], item["name"]))),
            "; ".join([item["status"], *item["reasons"]]),
        )
        for item in found["items"]
    ]
    counts = found["byStatus"]
    document = {"total": found["total"], "byStatus": counts, "unwell": found["unwell"]}
    return _part(kind, _counted(found["total"], counts), troubles, document, found["unwell"] - len(troubles))


def _counted(total: int, counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {word}" for word, count in counts.items()) if total else "none"


def _proxies(status: Mapping[str, Any]) -> Part:
    connected, synced = status["connected"], status["synced"]
    held = [
        Trouble(
            one["name"],
            f"held back in zone {zone['zone'] or 'any'}: {one['proxy']} refused it: {one['text']}",
        )
        for zone in status["zones"]
        for one in zone["refused"]
    ]
    troubles = [
        *([] if connected else [Trouble("", "no Envoy is connected")]),
        *(Trouble(proxy["id"], reason) for proxy in status["proxies"] if (reason := _behind(proxy))),
        *held,
    ]
    told = f"{connected} connected, {synced} with the newest configuration"
    document = {"connected": connected, "synced": synced}
    return _part("Envoys", told, troubles, document)


def _behind(proxy: Mapping[str, Any]) -> str:
    """Say why an Envoy has not all that it should have; '' for one that has."""
    if proxy["rejections"]:
        return "; ".join(f"refuses {kind}: {text}" for kind, text in proxy["rejections"].items())
    if proxy["reason"]:
        return str(proxy["reason"])
    return "" if proxy["synced"] else "has not taken the newest configuration yet"


def _certificates(found: Sequence[Mapping[str, Any]], now: datetime) -> Part:
    rows = [_certificate(one, now) for one in found]
    counts: dict[str, int] = {}
    for row in rows:
        counts[row["state"]] = counts.get(row["state"], 0) + 1
    troubles = [
        Trouble(row["name"], f"{row['state']}: {row['trouble']}")
        for row in rows
        if row["state"] != State.GOOD
    ]
    return _part("certificates", _counted(len(rows), counts), troubles, rows)


def _certificate(one: Mapping[str, Any], now: datetime) -> dict[str, Any]:
    ends = moment(one["notAfter"])
    state = State.BROKEN if one["trouble"] or ends is None else ending(ends, now)
    return {
        "name": one["name"],
        "hostNames": one["hostNames"],
        "notAfter": _time(ends),
        "daysLeft": None if ends is None else days_left(ends, now),
        "state": state,
        "trouble": "" if state is State.GOOD else _trouble(one, ends),
    }


def _trouble(one: Mapping[str, Any], ends: datetime | None) -> str:
    """Say what is wrong with a certificate that is not good; `ends` is of the one that is shown, if there is one."""
    if ends is None:
        return str(one["trouble"])
    if one["trouble"]:
        return f"{one['trouble']}. The one from before is shown until {minute(ends)}"
    return f"{minute(ends)}, for {', '.join(one['hostNames'][:HOSTS])}"


def _services(found: Sequence[Process], now: datetime) -> Part:
    there = [one for one in found if not (one.name and one.failure)]
    absent = [one.name for one in found if one not in there]
    told = [f"{sum(not one.failure for one in there)} of {len(there)} ready"] if there else []
    if absent:
        told.append(f"no {', '.join(absent)} on this machine: name them with --service")
    troubles = [trouble for one in there for trouble in _service(one, now)]
    document = [
        {
            "url": one.url,
            "ready": not one.failure,
            "failure": one.failure,
            "certificateNotAfter": _time(one.not_after),
        }
        for one in there
    ]
    return replace(_part("services", "; ".join(told), troubles, document), known=bool(there))


def _service(one: Process, now: datetime) -> Iterator[Trouble]:
    if one.failure:
        yield Trouble(one.url, one.failure)
    if failure := one.status.get("failure"):  # the collector's, of its disk
        yield Trouble(one.url, str(failure))
    yield from _own_certificate(one.url, one, now)


def _own_certificate(name: str, process: Process, now: datetime) -> Iterator[Trouble]:
    ends = process.not_after
    if ends is not None and (state := ending(ends, now)) is not State.GOOD:
        yield Trouble(name, f"its own certificate {state}: {minute(ends)}")


def _time(time: datetime | None) -> str | None:
    return None if time is None else rfc3339(time)
