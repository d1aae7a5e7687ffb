"""A folder of key pairs in, each pair by name out, or why it cannot be served; and what to serve while it changes.

The layouts are those that certbot writes (`live/<name>/fullchain.pem` and `privkey.pem`; the folder may be `live`
itself) and cert-manager, by way of Kubernetes' secrets (`<name>/tls.crt` and `tls.key`); or one pair lies in the folder
itself. Whether a pair is expired says its `not_after`; who follows a folder calls `Watched.refresh` now and then, and
nobody is told here.
"""

import os
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from igw_certs.files import Signature, UnreadableError, content, signature
from igw_certs.pair import BadPairError, KeyPair, read_pair

MOST_PAIRS = 100
LAYOUTS = (("fullchain.pem", "privkey.pem"), ("tls.crt", "tls.key"))
"""Chain and key, as certbot names them and as Kubernetes does."""
_LIVE = "live"


@dataclass(frozen=True, slots=True)
class Bad:
    """Files that are no pair, and why, for people; begins in lower case or with a file's name."""

    reason: str


@dataclass(frozen=True, slots=True)
class Certificate:
    """What is to be served under a name of the folder: the last good pair, and what is wrong with its files now."""

    name: str
    pair: KeyPair | None
    """None while there was none yet that is good."""
    trouble: str = ""
    """'' while the pair is that of the files."""


def scan(folder: Path, *, named: bool = True) -> Mapping[str, KeyPair | Bad]:
    """Read all pairs of a folder now, by the name of the folder that each lies in; raises nothing.

    A folder that cannot be listed is one `Bad` under its own name; one that holds nothing gives nothing. `named`: each
    must be for a DNS name.
    """
    try:
        places = _places(folder, ())
    except OSError as error:
        return {_name(folder): _unlisted(error)}
    return {name: _read(place, named=named) for name, place in places.items()}


class Watched:
    """A folder that is looked at again and again; what is served of a name stays while its files are broken."""

    def __init__(
        self,
        folder: Path,
        seconds: float = 0.5,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """Look at most every `seconds`; nothing is read before the first `refresh`."""
        self._folder, self._seconds, self._clock, self._now = folder, seconds, clock, now
        self._next = float("-inf")
        self._found: dict[str, _Found] = {}
        self._state: Mapping[str, Certificate] = {}
        self._places: Mapping[str, Path | None] = {}
        self._kept_to = False

    def keep_to(self, name: str) -> None:
        """Look at one pair of the last refresh alone from now on, where it lay then."""
        self._places, self._kept_to = {name: self._places[name]}, True

    def state(self) -> Mapping[str, Certificate]:
        """Give what is to be served, by name, as of the last refresh."""
        return self._state

    def refresh(self) -> bool:
        """Look whether files changed, and read those that did; say whether the state is another now.

        Costs a few `stat`s for each pair. Call it from one thread.
        """
        if self._clock() < self._next:
            return False
        self._next = self._clock() + self._seconds
        before = self._state
        self._state = self._looked(before)
        return self._state != before

    def _looked(self, before: Mapping[str, Certificate]) -> Mapping[str, Certificate]:
        try:
            if not self._kept_to:
                known = [name for name, one in before.items() if one.pair is not None]
                self._places = _places(self._folder, known)
        except OSError as error:
            names = list(before) or [_name(self._folder)]
            return {name: _after(name, before.get(name), _unlisted(error), self._now()) for name in names}
        self._found = {name: _look(place, self._found.get(name)) for name, place in self._places.items()}
        return {
            name: _after(name, before.get(name), one.told(before.get(name)), self._now())
            for name, one in self._found.items()
        }


@dataclass(frozen=True, slots=True)
class _Found:
    """What files were at one look, and whether they were the same at the look before."""

    signatures: tuple[Signature, ...]
    content: KeyPair | Bad
    still: bool

    def told(self, before: Certificate | None) -> KeyPair | Bad:
        """Give what to go by.

        Files that are being replaced do not fit each other for a moment: where there was a pair, it is trouble once
        they held still from one look to the next.
        """
        if before is None or before.pair is None or self.still or isinstance(self.content, KeyPair):
            return self.content
        return Bad(before.trouble) if before.trouble else before.pair


def _look(place: Path | None, before: _Found | None) -> _Found:
    signatures = (
        () if place is None else tuple(signature(place / name) for layout in LAYOUTS for name in layout)
    )
    if before is not None and before.signatures == signatures:
        return before if before.still else replace(before, still=True)
    return _Found(signatures, _read(place), still=False)


def _after(name: str, before: Certificate | None, found: KeyPair | Bad, now: datetime) -> Certificate:
    """Give what is to be served of a name, after what was."""
    former = None if before is None else before.pair
    match found:
        case Bad(reason):
            return Certificate(name, former, reason)
        case KeyPair() if former is not None and found.not_after <= now < former.not_after:
            return Certificate(
                name, former, f"what lies there now expired at {found.not_after:%Y-%m-%d %H:%M} UTC"
            )
        case KeyPair():
            return Certificate(name, found)


def _places(folder: Path, known: Collection[str]) -> Mapping[str, Path | None]:
    """Give where pairs lie, by name; of one that is known its folder is enough. Raises OSError.

    None for those that are too many, by the alphabet.
    """
    live = folder / _LIVE
    root = live if live.is_dir() else folder
    with os.scandir(root) as entries:
        found = {
            entry.name: Path(entry.path) for entry in entries if entry.name[0] != "." and _is_folder(entry)
        }
    own = _name(folder) if _name(folder) not in found else "."
    places = {own: root, **found}
    names = [name for name in sorted(places) if name in known or _holds_a_pair(places[name])]
    return {name: places[name] if number < MOST_PAIRS else None for number, name in enumerate(names)}


def _is_folder(entry: os.DirEntry[str]) -> bool:
    """Say whether a pair may lie there; of a link that leads where we may not look nobody knows."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def _holds_a_pair(place: Path) -> bool:
    """Say whether a pair, or half of one, lies there; a folder that we may not look into counts, to be told of."""
    for layout in LAYOUTS:
        for name in layout:
            try:
                (place / name).lstat()
            except PermissionError:
                return True
            except OSError:
                continue
            return True
    return False


def _read(place: Path | None, *, named: bool = True) -> KeyPair | Bad:
    if place is None:
        return Bad(f"more than {MOST_PAIRS} pairs lie in the folder: this one is not read")
    chain, key = max(LAYOUTS, key=lambda layout: sum(os.path.lexists(place / name) for name in layout))
    try:
        return read_pair(content(place / chain), content(place / key), named=named)
    except (UnreadableError, BadPairError) as error:
        return Bad(str(error))


def _name(folder: Path) -> str:
    return folder.absolute().name


def _unlisted(error: OSError) -> Bad:
    return Bad(f"the folder cannot be listed: {error.strerror}")
