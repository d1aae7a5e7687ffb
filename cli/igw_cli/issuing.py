"""What `igw certs` makes: an authority in a folder, and key pairs of it in others. Errors name the option."""

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

from igw_certs.authority import CERTIFICATE, LOOPBACK, Authority, AuthorityError
from igw_certs.files import PRIVATE, PUBLIC, UnreadableError, content, place
from igw_certs.identity import TRUST_DOMAIN, Identity, Role
from igw_certs.pair import BadPairError, KeyPair, certificates, read_pair

from igw_cli.client import Exit, FailedError

CHAIN, KEY = "tls.crt", "tls.key"
SERVICES = (Role.XDS, Role.EXTAUTH, Role.EXTPROC, Role.COLLECTOR)
Places = tuple[Sequence[str], Sequence[str]]
"""Names and addresses."""


def kept_authority(folder: Path, trust_domain: str | None) -> tuple[Authority, bool]:
    """Give the authority of a folder, and whether it was made now. Raises FailedError."""
    there = (folder / CERTIFICATE).exists()
    try:
        authority = Authority.kept(folder, trust_domain or TRUST_DOMAIN)
    except AuthorityError as error:
        raise FailedError(f"--folder: {error}") from error
    if trust_domain not in {None, authority.trust_domain}:
        raise FailedError(
            f"--trust-domain: the authority in {folder} is of {authority.trust_domain}, and stays that: leave the "
            "option out, or name another --folder",
            Exit.CONFLICT,
        )
    return authority, not there


def found_authority(folder: Path) -> Authority:
    """Give the authority of a folder that has one. Raises FailedError."""
    if not (folder / CERTIFICATE).exists():
        remedy = f"make one: igw certs ca --folder {folder}"
        raise FailedError(f"--ca: there is no authority in {folder}; {remedy}", Exit.NOT_FOUND)
    try:
        return Authority.found(folder)
    except AuthorityError as error:
        raise FailedError(f"--ca: {error}") from error


def identity(role: Role, zone: str) -> Identity:
    """Give an identity. Raises FailedError."""
    try:
        return Identity(role, zone)
    except ValueError as error:
        raise FailedError(f"--zone: {error}", Exit.INVALID) from None


def places(role: Role, names: Sequence[str], addresses: Sequence[str]) -> Places:
    """Give where a process is reached: what is said, else on this machine if it serves."""
    return LOOPBACK if role in SERVICES and not names and not addresses else (names, addresses)


def issue(
    authority: Authority,
    one: Identity,
    reached: Places,
    out: Path,
    days: int,
    renew_before: int | None = None,
) -> tuple[KeyPair, bool]:
    """Put a new pair in a folder, unless what is there need not be renewed; give which, and whether it is new.

    Without `renew_before`, in days, it always is. Raises FailedError.
    """
    if renew_before is not None and renew_before >= days:
        raise FailedError("--renew-before: must be less than --days", Exit.INVALID)
    try:
        if renew_before is not None and (pair := _standing(authority, one, reached, out, renew_before)):
            return pair, False
        names, addresses = reached
        pair = authority.issue_identity(one, days, names, addresses)
    except AuthorityError as error:
        raise FailedError(f"--ca: {error}") from error
    _install(out, pair, authority)
    return pair, True


def _standing(
    authority: Authority, one: Identity, reached: Places, out: Path, renew_before: int
) -> KeyPair | None:
    """Give the pair of a folder that is what would be issued, and good for more than `renew_before` days still.

    None too where it cannot be read, or where `ca.crt` lacks this authority: it may hold others beside it, for trust
    goes from one to the next that way.
    """
    try:
        pair = read_pair(content(out / CHAIN), content(out / KEY), named=False)
        trusted = certificates(content(out / CERTIFICATE))
    except (UnreadableError, BadPairError):
        return None
    if certificates(authority.certificate)[0] not in trusted:
        return None
    return pair if authority.stands_by(pair, one, timedelta(days=renew_before), *reached) else None


def _install(out: Path, pair: KeyPair, authority: Authority) -> None:
    """Put a pair and who signed it in a folder, whose files may be watched. Raises FailedError."""
    files = {
        CERTIFICATE: (authority.certificate, PUBLIC),
        KEY: (pair.key, PRIVATE),
        CHAIN: (pair.chain, PUBLIC),
    }
    try:
        out.mkdir(parents=True, exist_ok=True)
        place(out, files)
    except OSError as error:
        raise FailedError(f"--out {out}: {error.strerror}") from error
