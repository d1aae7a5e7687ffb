"""The certificates that Envoys show to clients: those of a folder, and of the local authority for what they lack.

A folder is looked at every half second; of a pair that breaks, the one before stays. What is said of a host name goes
into its gateway's conditions, what is said of a certificate into metrics and the log.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import structlog
from igw_certs.authority import CERTIFICATE, KEY, LOOPBACK, Authority, AuthorityError
from igw_certs.files import PRIVATE, PUBLIC, place
from igw_certs.folder import Certificate, Watched, scan
from igw_certs.pair import KeyPair
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from igw_xds.observation import Coverage

log = structlog.get_logger(__name__)

LOCAL = "local/authority"
"""The name of the local authority's certificate; with its slash no folder can have it."""
_LEFT = "local"
"""The folder that it lies in for the next start, below the authority's own."""
LOOK_SECONDS = 0.5
EXPIRING = timedelta(days=14)
"""Before its end a certificate is warned of: Let's Encrypt's are renewed 30 days before theirs."""
RENEWED = timedelta(days=30)
"""Before its end the local authority's is made anew, unless the authority ends then too."""
MOST_LOCAL_HOSTS = 1000
"""Host names in the local certificate: a client takes all of them at each connection."""


class Certificates:
    """What Envoys are to show now; `refresh` looks for what changed."""

    def __init__(
        self, folder: Path | None = None, authority: Authority | None = None, kept: Path | None = None
    ) -> None:
        """Know nothing yet. With an `authority`, host names that no certificate has get one of its own.

        It is in the folder `kept` for the next start: a control plane that comes back changes nothing.
        """
        self._watched = None if folder is None else Watched(folder, LOOK_SECONDS)
        self._authority = authority
        self._kept = kept
        self._local = None if kept is None or authority is None else _left(kept, authority)
        self._said: Mapping[str, str] = {}
        self._seen: tuple[object, ...] = ()
        self.states: Mapping[str, Certificate] = {}
        self.changes = 0
        """How often something changed: what is shown, or what is to be said of it."""

    @property
    def watched(self) -> bool:
        """Say whether there is anything to look at."""
        return self._watched is not None or self._authority is not None

    @property
    def names_hosts(self) -> bool:
        """Say whether `refresh` needs to know the gateways' host names."""
        return self._authority is not None

    @property
    def pairs(self) -> Mapping[str, KeyPair]:
        """Give what Envoys are to show, by name."""
        return {name: state.pair for name, state in self.states.items() if state.pair is not None}

    def refresh(self, hosts: Iterable[str]) -> None:
        """Look for what changed; `hosts` are the host names of all gateways.

        Reads files and signs: not for the event loop, and for one thread at a time.
        """
        now, states = datetime.now(UTC), dict[str, Certificate]()
        if self._watched is not None:
            self._watched.refresh()
            states.update(self._watched.state())
        if self._authority is not None:
            states[LOCAL] = self._issued(self._authority, states, hosts, now)
        self.states = states
        self._tell(now)
        seen = tuple((name, state, _stage(state.pair, now)) for name, state in sorted(self.states.items()))
        self.changes += seen != self._seen
        self._seen = seen

    def coverage(self, hosts: Iterable[str]) -> Coverage:
        """Say how these host names are certified now."""
        now = datetime.now(UTC)
        missing, ends, troubles = [], [], []
        for host in hosts:
            state = _of(self.states, host, now)
            if state is None or state.pair is None:
                missing.append(host)
                continue
            ends.append(state.pair.not_after)
            if state.trouble:
                troubles.append(f"{state.name}: {state.trouble}")
        if missing:
            return Coverage(False, "Missing", f"No certificate for {', '.join(missing)}{self._why_missing()}")
        last = f"{min(ends):%Y-%m-%d %H:%M} UTC" if ends else ""
        if ends and min(ends) <= now:
            told = (f"The certificate ended on {last}", *sorted(set(troubles)))
            return Coverage(False, "Expired", ". ".join(told))
        if troubles:
            broken = "; ".join(sorted(set(troubles)))
            return Coverage(False, "Broken", f"{broken}. The one from before is shown until {last}")
        return Coverage(True, "Valid", f"Valid until {last}")

    def described(self) -> list[dict[str, Any]]:
        """Give all of them for `/status`."""
        return [described(state) for _, state in sorted(self.states.items())]

    def _issued(
        self, authority: Authority, others: Mapping[str, Certificate], hosts: Iterable[str], now: datetime
    ) -> Certificate:
        """Give the local certificate, made anew when host names came or went, or its end is near."""
        names, _ = LOOPBACK
        lacking = sorted(host for host in {*names, *hosts} if _of(others, host, now) is None)
        wanted = tuple(lacking[:MOST_LOCAL_HOSTS])
        left_out = len(lacking) - len(wanted)
        trouble = self._renew(authority, wanted, now) or (
            f"no room for {left_out} host names" if left_out else ""
        )
        return Certificate(LOCAL, self._local, trouble)

    def _renew(self, authority: Authority, wanted: Sequence[str], now: datetime) -> str:
        """Make the local certificate anew if need be; give why that cannot be done: the one before stays."""
        if authority.not_after <= now:
            where = self._kept or "its folder"
            return (
                f"the local authority ended on {authority.not_after:%Y-%m-%d}: remove {CERTIFICATE} and {KEY} from "
                f"{where}, start again, and have clients trust the new one"
            )
        if self._local is not None and _is_good(self._local, authority, wanted, now):
            return ""
        try:
            pair = authority.issue_server(wanted, LOOPBACK[1])
            if self._kept is not None:
                _leave(self._kept, pair)
        except AuthorityError as error:
            return str(error)
        except OSError as error:
            return f"the new one cannot be kept in {self._kept}: {error.strerror}"
        self._local = pair
        return ""

    def _why_missing(self) -> str:
        local = self.states.get(LOCAL)
        return f". {LOCAL}: {local.trouble}" if local and local.trouble else ""

    def _tell(self, now: datetime) -> None:
        """Warn once of each trouble, and of each end that comes near."""
        said = {name: text for name, state in self.states.items() if (text := _warning(state, now))}
        for name, text in said.items():
            if self._said.get(name) != text:
                log.warning("a certificate needs care", certificate=name, trouble=text)
        self._said = said


def described(state: Certificate) -> dict[str, Any]:
    """Describe a certificate as JSON."""
    return {
        "name": state.name,
        "hostNames": list(state.pair.names) if state.pair else [],
        "notAfter": state.pair.not_after.isoformat() if state.pair else None,
        "trouble": state.trouble,
    }


def _is_good(pair: KeyPair, authority: Authority, wanted: Sequence[str], now: datetime) -> bool:
    """Say whether another pair would be no better: none outlives its authority."""
    lasts = pair.not_after - now >= RENEWED or pair.not_after >= authority.not_after
    return lasts and set(wanted) == set(pair.names)


def _left(kept: Path, authority: Authority) -> KeyPair | None:
    """Give the pair that an earlier run has left, if it left one that is good and of this authority."""
    found = scan(kept).get(_LEFT)
    return found if isinstance(found, KeyPair) and authority.signed(found) else None


def _leave(kept: Path, pair: KeyPair) -> None:
    """Keep a pair for the next run, where `igw certs show` finds it."""
    folder = kept / _LEFT
    folder.mkdir(exist_ok=True)
    place(folder, {"tls.crt": (pair.chain, PUBLIC), "tls.key": (pair.key, PRIVATE)})


def _of(states: Mapping[str, Certificate], host: str, now: datetime) -> Certificate | None:
    """Give the certificate that clients of a host name see; of several one that is valid, and that names the host."""
    wildcard = f"*.{host.partition('.')[2]}"

    def rank(state: Certificate) -> tuple[bool, bool]:
        return (
            state.pair is not None and state.pair.not_after > now,
            state.pair is not None and host in state.pair.names,
        )

    found = [state for state in states.values() if state.pair and {host, wildcard} & set(state.pair.names)]
    return max(found, key=rank, default=None)


def _stage(pair: KeyPair | None, now: datetime) -> str:
    if pair is None:
        return "none"
    left = pair.not_after - now
    return "expired" if left <= timedelta() else "expiring" if left < EXPIRING else "valid"


def _warning(state: Certificate, now: datetime) -> str:
    if state.trouble:
        return state.trouble
    stage = _stage(state.pair, now)
    if state.pair is None or stage == "valid":
        return ""
    return f"{'ended' if stage == 'expired' else 'ends'} on {state.pair.not_after:%Y-%m-%d %H:%M} UTC"


class CertificatesCollector(Collector):
    """Metrics of the certificates, read when they are asked for; their number is bounded by the folder's."""

    def __init__(self, certificates: Certificates) -> None:
        """Keep where they are."""
        self._certificates = certificates

    def collect(self) -> Iterable[Metric]:
        """Give when each ends, and whether its files are broken."""
        ends = GaugeMetricFamily(
            "igw_certificate_not_after_seconds",
            "When a certificate ends, in Unix seconds.",
            labels=["certificate"],
        )
        broken = GaugeMetricFamily(
            "igw_certificate_broken",
            "1 while a certificate's files cannot be served; the pair from before is, where there is one.",
            labels=["certificate"],
        )
        for name, state in sorted(self._certificates.states.items()):
            if state.pair is not None:
                ends.add_metric([name], state.pair.not_after.timestamp())
            broken.add_metric([name], float(bool(state.trouble)))
        yield from (ends, broken)
