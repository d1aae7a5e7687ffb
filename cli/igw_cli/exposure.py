"""Who may be reached by other machines without TLS: nobody, unless that is said aloud."""

import ipaddress
from typing import Annotated

import typer

from igw_cli.options import INVALID, fail

InClear = Annotated[
    bool,
    typer.Option(
        "--in-clear",
        envvar="IGW_IN_CLEAR",
        help="Be reached by other machines without TLS: whoever reaches a port may ask, and read what is said.",
    ),
]
MUTUAL_TLS = "--tls-cert"
API_TLS = "--api-certificate"


def is_loopback(host: str) -> bool:
    """Tell whether nobody but this machine reaches an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def check_exposure(host: str, option: str, tls_option: str, *, tls: bool, in_clear: bool) -> tuple[str, ...]:
    """Give what is to be warned of. Ends the program where other machines would be answered in clear unasked."""
    if is_loopback(host):
        return ()
    if tls and tls_option == MUTUAL_TLS:  # probes and Prometheus have no certificate of ours
        return (f"{option} {host} has no TLS on the operations port: keep it to those who watch",)
    if tls:
        return ()
    if not in_clear:
        fail(
            f"{option} {host} is reached by other machines, and there is no TLS: give {tls_option}, "
            "or say --in-clear (IGW_IN_CLEAR=true) where the network keeps strangers away",
            INVALID,
        )
    return (f"{option} {host} is served without TLS: whoever reaches it may ask, and read what is said",)
