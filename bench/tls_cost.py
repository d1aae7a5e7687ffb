"""What HTTPS costs beside HTTP: the same gateway, the same requests, on warm connections and on a new one for each.

`python bench/tls_cost.py` prints a table; with `--write` it goes into docs/performance.md. It runs `igw up --demo` with
one worker and asks it for its models: authentication included, no model server. TLS 1.3 with a P-256 certificate of the
local authority; wrk resumes no session, so each new connection shakes hands in full. Run by hand, never in tests.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tax.load import INSTALL
from tax.page import source, table, write
from tax.processes import FailedError, Processes, cpu_seconds
from tax.stage import free_ports, program

SCRIPT = Path(__file__).with_name("tls.lua")
PORTS = (
    *("--port", "--https-port", "--admin-port", "--xds-port", "--xds-ops-port", "--extauth-port"),
    *(
        "--extauth-grpc-port",
        "--extauth-ops-port",
        "--extproc-port",
        "--extproc-ops-port",
        "--collector-port",
    ),
    *("--collector-ops-port", "--api-port", "--api-grpc-port", "--demo-port"),
)
WAYS = ((False, "warm connections"), (True, "a new connection for each request"))
GRACE_SECONDS = 30
HEADINGS = ("", "", "requests/s", "of HTTP", "p50 µs", "Envoy µs/request")


@dataclass(frozen=True, slots=True)
class Measure:
    """What wrk saw, and the CPU that Envoy took."""

    throughput: float
    p50_us: float
    envoy_us: float


def main(arguments: Sequence[str]) -> int:
    """Run, and give the exit status: 0 done, 1 the run is worth nothing."""
    options = _options(arguments)
    try:
        with tempfile.TemporaryDirectory(prefix="tls-cost-") as folder, Processes(Path(folder)) as processes:
            ready = _started(processes, Path(folder))
            found = _rounds(ready, options.seconds, options.rounds)
    except FailedError as failed:
        print(f"tls_cost: {failed}", file=sys.stderr)
        return 1
    made = f"{source('tls_cost.py', arguments)} Medians of {options.rounds} rounds."
    text = f"{table(HEADINGS, _lines(found))}\n\n{made}"
    print(text)
    if options.write:
        write("tls_cost", text)
    return 0


def _started(processes: Processes, folder: Path) -> Mapping[str, Any]:
    """Run the gateway; give its ready file once it serves."""
    ports = [
        part
        for option, port in zip(PORTS, free_ports(len(PORTS)), strict=True)
        for part in (option, str(port))
    ]
    ports = [*ports[:-1], "0"]  # the demo's, of which there are several
    ready = folder / "ready.json"
    command = (
        sys.executable,
        "-m",
        "igw_cli",
        "up",
        "--demo",
        "--concurrency",
        "1",
        "--log-level",
        "warning",
    )
    processes.start(
        "igw", (*command, *ports, "--state-dir", str(folder / "state"), "--ready-file", str(ready))
    )
    processes.wait("igw up", lambda: "" if ready.exists() else "no ready file yet")
    document: Mapping[str, Any] = json.loads(ready.read_text(encoding="utf-8"))
    return document


def _rounds(ready: Mapping[str, Any], seconds: int, count: int) -> Mapping[tuple[bool, str], list[Measure]]:
    found: dict[tuple[bool, str], list[Measure]] = {
        (closes, scheme): [] for closes, _ in WAYS for scheme in ("http", "https")
    }
    for _ in range(count + 1):
        for (closes, scheme), measures in found.items():
            measures.append(_measure(ready, scheme, seconds, closes=closes))
    return {row: measures[1:] for row, measures in found.items()}  # the first warms up


def _measure(ready: Mapping[str, Any], scheme: str, seconds: int, *, closes: bool) -> Measure:
    [host] = [gateway["host"] for gateway in ready["gateways"] if gateway["name"] == "chat"]
    url = f"{ready['ingress' if scheme == 'http' else 'https']}/v1/models"
    told = {
        "TLS_HOST": host,
        "TLS_TOKEN": ready["tokens"]["coreweave"],
        "TLS_CLOSE": "yes" if closes else "no",
    }
    envoy = ready["pids"]["envoy"]
    before = cpu_seconds(envoy)
    ran = subprocess.run(
        (program("wrk", INSTALL), "-t1", "-c16", f"-d{seconds}s", "--timeout", "20s", "-s", str(SCRIPT), url),
        capture_output=True,
        text=True,
        check=False,
        timeout=seconds + GRACE_SECONDS,
        env={**os.environ, **told},
    )
    if ran.returncode:
        raise FailedError(f"wrk failed: {(ran.stderr or ran.stdout).strip()}")
    seen = json.loads(ran.stdout.strip().splitlines()[-1])
    if seen["failed"] or not seen["requests"]:
        raise FailedError(f"{scheme}: {seen['failed']} of {seen['requests']} requests failed")
    spent = (cpu_seconds(envoy) - before) / seen["requests"] * 1e6
    return Measure(seen["requests"] / seen["seconds"], seen["p50_us"], spent)


def _lines(found: Mapping[tuple[bool, str], list[Measure]]) -> list[tuple[str, ...]]:
    lines: list[tuple[str, ...]] = []
    for closes, name in WAYS:
        for scheme in ("http", "https"):
            measures, plain = found[closes, scheme], found[closes, "http"]
            ratio = statistics.median(
                one.throughput / other.throughput for one, other in zip(measures, plain, strict=True)
            )
            throughput, p50, spent = (
                statistics.median(getattr(one, field) for one in measures)
                for field in ("throughput", "p50_us", "envoy_us")
            )
            lines.append(
                (name, scheme.upper(), f"{throughput:,.0f}", f"{ratio:.2f}", f"{p50:,.0f}", f"{spent:,.0f}")
            )
    return lines


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=int, default=2, help="of load on each row in each round (2)")
    parser.add_argument("--rounds", type=int, default=5, help="over all rows; medians are told (5)")
    parser.add_argument("--write", action="store_true", help="replace the table in docs/performance.md")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
