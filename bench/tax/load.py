"""The load: wrk on one thread with keep-alive, always the same request; what it saw comes out as a value."""

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tax.processes import FailedError
from tax.rows import MODEL, Row, question
from tax.stage import Stage

SCRIPT = Path(__file__).with_name("chat.lua")
INSTALL = "apt-get install wrk, or see https://github.com/wg/wrk"
GRACE_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Load:
    """How long and how wide."""

    wrk: str
    seconds: int
    connections: int


@dataclass(frozen=True, slots=True)
class Seen:
    """What wrk saw: latencies in milliseconds; `status_errors` are answers of 400 and above."""

    requests: int
    seconds: float
    p50_ms: float
    p99_ms: float
    status_errors: int
    socket_errors: int


def apply(load: Load, stage: Stage, row: Row) -> Seen:
    """Put a row under load. Raises FailedError when wrk does."""
    at = stage.envoys[row.proxy].listen
    url = f"http://{at.host}:{at.port}{row.path}"
    options = ("-t1", f"-c{load.connections}", f"-d{load.seconds}s", "--latency", "-s", str(SCRIPT))
    ran = subprocess.run(
        (load.wrk, *options, url),
        capture_output=True,
        text=True,
        check=False,
        timeout=load.seconds + GRACE_SECONDS,
        env={**os.environ, **_environment(stage, row)},
    )
    if ran.returncode:
        raise FailedError(f"wrk failed: {(ran.stderr or ran.stdout).strip()}")
    return Seen(**json.loads(ran.stdout.strip().splitlines()[-1]))


def _environment(stage: Stage, row: Row) -> dict[str, str]:
    """Give what the script asks for; a token has no business on a command line."""
    return {"TAX_HOST": row.host, "TAX_TOKEN": stage.token, "TAX_MODEL": MODEL, "TAX_BODY": question()}
