"""Mutual TLS as the commands are told of it: four options, all or none, checked before anything starts."""

import contextlib
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

from igw_ops.guard import Guard

from igw_cli.options import INVALID, fail

if TYPE_CHECKING:
    from igw_certs.contexts import Credentials, ServerTls

_NAMES = ("--tls-cert", "--tls-key", "--tls-ca", "--trust-domain")


def server_tls(
    cert: Path | None, key: Path | None, ca: Path | None, trust_domain: str | None, role: str
) -> "ServerTls | None":
    """Give the files of a process of this role, or None for none; end the program where they cannot be used."""
    found = credentials(cert, key, ca, trust_domain, role)
    return None if found is None else found.tls


def credentials(
    cert: Path | None, key: Path | None, ca: Path | None, trust_domain: str | None, role: str
) -> "Credentials | None":
    """Give what the files hold, followed. The certificate must be for the process's own role."""
    missing = [
        name for name, value in zip(_NAMES, (cert, key, ca, trust_domain), strict=True) if value in {None, ""}
    ]
    if len(missing) == len(_NAMES):
        return None
    if cert is None or key is None or ca is None or not trust_domain:
        fail(f"TLS needs {', '.join(_NAMES)}, all or none: {' and '.join(missing)} missing", INVALID)
    from igw_certs.contexts import BadFilesError, Credentials, ServerTls  # noqa: PLC0415 - only who needs it pays for it
    from igw_certs.identity import checked_trust_domain  # noqa: PLC0415 - see above

    try:
        found = Credentials(ServerTls(cert, key, ca, checked_trust_domain(trust_domain)))
    except (BadFilesError, ValueError) as error:
        fail(str(error), INVALID)
    own = found.current().identity
    if own.role != role:
        fail(f"{cert} is of the role {own.role}: here it must be {role}", INVALID)
    return found


@contextlib.contextmanager
def proxies_alone(tls: "ServerTls | None") -> Iterator[Guard | None]:
    """Let Envoys in, and nobody else, while the context is open; None where there is no TLS."""
    with _guarding(tls) as guard:
        yield guard


def _guarding(tls: "ServerTls | None") -> AbstractContextManager[Guard | None]:
    if tls is None:
        return contextlib.nullcontext()
    from igw_certs.identity import Role  # noqa: PLC0415 - see above
    from igw_certs.peers import guarding  # noqa: PLC0415 - see above

    return guarding(tls, Role.PROXY, alpn=("h2",))
