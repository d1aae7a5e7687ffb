"""Audit what the locks name: each requirement pinned and hashed, and none with a known vulnerability.

The second needs a database that pip-audit can ask (PyPI's, or OSV's by PIP_AUDIT_VULNERABILITY_SERVICE and
PIP_AUDIT_OSV_URL). pip-audit itself passes what the database does not know: here that is named as not audited.
"""

import argparse
import json
import re
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, assert_never

from packaging.requirements import InvalidRequirement, Requirement

ROOT = Path(__file__).parents[1]
PROGRAM = Path(sysconfig.get_path("scripts")) / "pip-audit"
SECONDS = 300
"""The longest that one lock may take: a database is asked once for each requirement."""

UNREACHED = """
*** NOT AUDITED: no database of known vulnerabilities answered for the locks named above. Only pins and hashes were
*** checked. Run it again where PyPI's JSON API is reached, or with PIP_AUDIT_VULNERABILITY_SERVICE=osv."""

HASH = re.compile(r"--hash=sha256:[0-9a-f]{64}(?=\s|$)")


@dataclass(frozen=True)
class Looked:
    """What the database said of a lock: how many requirements it knows, which not, and what it has against some."""

    known: int
    unknown: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()


@dataclass(frozen=True)
class Unreached:
    """No database answered; `reason` is pip-audit's last word."""

    reason: str


Audited = Looked | Unreached


def flaws(lock: str) -> Iterator[str]:
    """Give what is not pinned to one version, or has no SHA-256, in the text of a lock."""
    lines = [line for line in lock.replace("\\\n", " ").splitlines() if line.split("#")[0].strip()]
    if not lines:
        yield "it names nothing"
    for line in lines:
        named, *hashes = line.partition(" --hash=")
        if not _pinned(named):
            yield f"{named.strip()}: not one version"
        elif not HASH.search("".join(hashes)):
            yield f"{named.strip()}: no SHA-256"


def _pinned(named: str) -> bool:
    try:
        requirement = Requirement(named.partition(" #")[0].strip())
    except InvalidRequirement:  # an option, a file, or something else that pip would take
        return False
    only = list(requirement.specifier)
    return (
        requirement.url is None and [each.operator for each in only] == ["=="] and "*" not in only[0].version
    )


def looked(told: str, complaint: str) -> Audited:
    """Read pip-audit's JSON; `complaint` is what it wrote beside it."""
    try:
        found: Sequence[Mapping[str, Any]] = json.loads(told)["dependencies"]
    except (ValueError, KeyError, TypeError):
        return Unreached((complaint.strip().splitlines() or ["pip-audit said nothing"])[-1])
    unknown = tuple(each["name"] for each in found if "skip_reason" in each)
    known = len(found) - len(unknown)
    if not known:
        return Unreached(f"the database knows none of {len(unknown)} requirements")
    return Looked(known, unknown, tuple(fault for each in found for fault in _faults(each)))


def _faults(dependency: Mapping[str, Any]) -> Iterator[str]:
    for each in dependency.get("vulns", ()):
        mended = ", ".join(each.get("fix_versions", ())) or "no version"
        yield f"{dependency['name']} {dependency['version']}: {each['id']}, mended in {mended}"


def verdict(name: str, found: Iterable[str], audited: Audited, *, strict: bool) -> tuple[list[str], bool]:
    """Give the lines to say of a lock, and whether it passes. What was not audited passes unless `strict`."""
    lines = [f"{name}: {flaw}" for flaw in found]
    sound = not lines
    if sound:
        lines.append(f"{name}: every requirement is pinned and hashed")
    match audited:
        case Unreached(reason):
            lines.append(f"{name}: NOT AUDITED for known vulnerabilities: {reason}")
            return lines, sound and not strict
        case Looked(known, unknown, faults):
            lines.append(f"{name}: {known} requirements audited, {len(faults)} known vulnerabilities")
            lines += [f"{name}: {fault}" for fault in faults]
            lines += [f"{name}: NOT AUDITED, the database does not know it: {each}" for each in unknown]
            return lines, sound and not faults and not (strict and unknown)
        case _:
            assert_never(audited)


def ask(lock: Path) -> Audited:
    """Have pip-audit ask its database about each requirement of a lock, for the Python that runs this."""
    options = ["--requirement", str(lock), "--require-hashes", "--disable-pip", "--format", "json"]
    try:
        done = subprocess.run(
            [PROGRAM, *options, "--desc", "off", "--progress-spinner", "off"],
            capture_output=True,
            text=True,
            check=False,
            timeout=SECONDS,
        )
    except subprocess.TimeoutExpired:
        return Unreached(f"no answer within {SECONDS} s")
    return looked(done.stdout, done.stderr)


def main(arguments: Sequence[str]) -> int:
    """Say what was found; 1 when a lock does not pass."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--strict", action="store_true", help="fail where the database was not reached")
    parser.add_argument("lock", nargs="*", type=Path, help="default: each requirements*.lock of the project")
    given = parser.parse_args(arguments)
    passed = audited = True
    for lock in given.lock or sorted(ROOT.glob("requirements*.lock")):
        answer = ask(lock)
        lines, passes = verdict(lock.name, flaws(lock.read_text()), answer, strict=given.strict)
        print(*lines, sep="\n", flush=True)
        passed &= passes
        audited &= isinstance(answer, Looked)
    if not audited:
        print(UNREACHED, file=sys.stderr)
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
