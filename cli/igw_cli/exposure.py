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
OpsHost = Annotated[
    str | None,
    typer.Option(
        "--ops-host",
        envvar="IGW_OPS_HOST",
        help="Address of the operations port, which has no TLS. Default: --host where that is loopback or --in-clear "
        "is said, else 127.0.0.1.",
    ),
]
LOOPBACK = "127.0.0.1"
MUTUAL_TLS = "--tls-cert"
API_TLS = "--api-certificate"


def is_loopback(host: str) -> bool:
    """Tell whether nobody but this machine reaches an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def service_exposure(
    host: str, ops_host: str | None, *, tls: bool, in_clear: bool
) -> tuple[str, tuple[str, ...]]:
    """Give the address of a service's operations port, and what is to be warned of.

    That port has no TLS, for probes and Prometheus have no certificate of ours: other machines reach it where that is
    said, by `ops_host` or `in_clear`. Ends the program as `check_exposure`.
    """
    exposed = check_exposure(host, "--host", MUTUAL_TLS, tls=tls, in_clear=in_clear)
    ops = ops_host or (host if in_clear or is_loopback(host) else LOOPBACK)
    if not is_loopback(ops):
        exposed += (f"the operations port has no TLS, and listens on {ops}: keep it to those who watch",)
    return ops, exposed


def check_exposure(host: str, option: str, tls_option: str, *, tls: bool, in_clear: bool) -> tuple[str, ...]:
    """Give what is to be warned of. Ends the program where other machines would be answered in clear unasked."""
    if tls or is_loopback(host):
        return ()
    if not in_clear:
        fail(
            f"{option} {host} is reached by other machines, and there is no TLS: give {tls_option}, "
            "or say --in-clear (IGW_IN_CLEAR=true) where the network keeps strangers away",
            INVALID,
        )
    return (f"{option} {host} is served without TLS: whoever reaches it may ask, and read what is said",)
