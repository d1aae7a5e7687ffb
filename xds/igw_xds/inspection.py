"""What an operator may look at, as plain documents: the connected proxies, their zones, what each of them should run.

Nobody's right to look is checked here, nor is a proxy asked: what is known of it is what its stream said. What takes
long for many proxies or names is done in slices, or in a thread.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from google.protobuf.json_format import MessageToDict

from igw_xds.distribution import Distribution, Distributions
from igw_xds.fleet import Connected, Fleet, Proxy, described, moment, refused
from igw_xds.plan import zone_key
from igw_xds.snapshot import NO_RESOURCES, SECRET, SHORT_NAMES, Resource, Snapshot

TOGETHER: Final = 200
"""So many proxies are described before others have their turn."""
MAX_PROXIES: Final = 1000
"""Proxies that one answer lists; those in trouble come first."""
TYPES: Final[Mapping[str, str]] = {short: type_url for type_url, short in SHORT_NAMES.items()}
_ORDER: Final = {"STRAY": 0, "REFUSES": 1, "WAITING": 2, "SYNCED": 3}


@dataclass(frozen=True, slots=True)
class Inspection:
    """Looks at the proxies of this control plane; call it from its event loop."""

    fleet: Fleet
    zones: Distributions
    errors: Callable[[], Sequence[str]] = tuple
    """Why definition files are not served as they are."""

    async def proxies(self, zone: str | None) -> dict[str, Any]:
        """Give the proxies, all or those that name a zone, and their zones with what is held back there."""
        found = []
        for number, connected in enumerate(self.fleet.connected(), 1):
            if connected.target is not None and _is_in(zone, connected.node.zone):
                found.append(shown(connected))
            if number % TOGETHER == 0:
                await asyncio.sleep(0)
        found.sort(key=lambda proxy: (_ORDER[proxy["state"]], proxy["id"], proxy["connectedAt"]))
        return {
            "items": found[:MAX_PROXIES],
            "connected": len(found),
            "synced": sum(proxy["state"] == "SYNCED" for proxy in found),
            "omitted": max(0, len(found) - MAX_PROXIES),
            "zones": [shown_zone(one) for one in self.zones if not one.zone or _is_in(zone, one.zone)],
            "definitionErrors": list(self.errors()),
        }

    def proxy(self, proxy_id: str) -> dict[str, Any] | None:
        """Give one proxy; None for one that is not connected. Of two streams of one id the newer counts."""
        connected = self.fleet.find(proxy_id)
        return None if connected is None else shown(connected)

    async def resources(self, proxy_id: str) -> dict[str, Any] | None:
        """Give what a proxy should run: the version of each resource by type and name.

        `withheld` names what is served to nobody now and taken from nobody, so that a proxy may have it.
        """
        connected = self.fleet.find(proxy_id)
        if connected is None:
            return None
        target = connected.target or NO_RESOURCES
        return {
            "id": proxy_id,
            "zone": connected.node.zone,
            "version": target.version,
            "resources": await asyncio.to_thread(_versions, target),
            "withheld": {SHORT_NAMES[url]: sorted(names) for url, names in target.withheld.items() if names},
        }

    async def resource(self, proxy_id: str, kind: str, name: str) -> dict[str, Any] | None:
        """Give a resource that a proxy should run; None for a proxy, a type or a name that there is not.

        Secrets are shown to nobody.
        """
        connected = self.fleet.find(proxy_id)
        target = None if connected is None else connected.target
        found = (target or NO_RESOURCES).of(TYPES.get(kind, "")).get(name)
        if found is None or TYPES[kind] == SECRET:
            return None
        content = await asyncio.to_thread(_content, found)
        return {"type": kind, "name": name, "version": found.version, "content": content}


def shown(connected: Connected) -> dict[str, Any]:
    """Give a proxy's document."""
    proxy = connected.proxy()
    state, reason = _state(proxy, connected)
    known = described(proxy)
    more = {"reason": reason, "lastAck": known["lastAck"], "lastNack": known["lastNack"]}
    return {
        "id": proxy.id,
        "zone": proxy.zone,
        "version": proxy.version,
        "transport": proxy.transport,
        "connectedAt": moment(proxy.connected_at),
        "state": state,
        "canary": proxy.canary,
        "rejections": known["rejections"],
        **{key: value for key, value in more.items() if value},
    }


def shown_zone(zone: Distribution) -> dict[str, Any]:
    """Give a zone's document: what of it is held back, and why."""
    ahead, canary = time.time() - asyncio.get_running_loop().time(), zone.canary
    return {
        "name": zone.zone,
        "known": zone.known,
        "proxies": len(zone.receivers),
        "refused": [{**document, "at": moment(ahead + found.at)} for document, found in refused(zone)],
        **({} if canary is None else {"canary": canary.node.id}),
    }


def _state(proxy: Proxy, connected: Connected) -> tuple[str, str]:
    """Give a proxy's state in a word, and the reason for people."""
    if proxy.reason:
        return "STRAY" if proxy.stray else "WAITING", proxy.reason
    if proxy.rejections:
        return "REFUSES", "; ".join(f"{SHORT_NAMES[url]}: {text}" for url, text in proxy.rejections.items())
    if proxy.synced:
        return "SYNCED", ""
    awaited = ", ".join(SHORT_NAMES[type_url] for type_url in connected.stream.awaited)
    return "WAITING", f"has not answered {awaited}" if awaited else ""


def _is_in(zone: str | None, named: str) -> bool:
    return zone is None or zone_key(zone) == zone_key(named)


def _versions(target: Snapshot) -> dict[str, dict[str, str]]:
    return {
        short: {name: resource.version for name, resource in target.of(type_url).items()}
        for short, type_url in TYPES.items()
    }


def _content(resource: Resource) -> dict[str, Any]:
    """Give a resource as Envoy's `/config_dump` writes it."""
    written: dict[str, Any] = MessageToDict(resource.body, preserving_proto_field_name=True)
    return written
