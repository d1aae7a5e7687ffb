"""How many instructions an Envoy runs for one request: exact within a hundredth, on however busy a machine.

`python bench/instructions.py` prints a table of the rows of bench/body_routing.py (bodies of 1 kB, unless `--only` says
otherwise); with `--write` it goes into docs/performance.md. What the kernel does is not in it, nor is waiting. Envoy
runs under Valgrind's callgrind, some forty times slower than alone. Run by hand, to see what a change costs.
"""

import argparse
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import httpx
from bodies.rows import HOST, Proxy, Row, Upstream, rows
from bodies.stage import set_up
from tax.page import source, table, write
from tax.processes import FailedError, Processes
from tax.stage import program

INSTALL = "install the package valgrind"
WARM_REQUESTS = 300
"""Enough for LuaJIT to compile what runs often."""
COUNTED = re.compile(r"^(?:summary|totals): (\d+)", re.MULTILINE)


def main(arguments: Sequence[str]) -> int:
    """Run, and give the exit status: 0 done, 1 the run is worth nothing."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--requests", type=int, default=400, help="that are counted of each row (400)")
    parser.add_argument("--only", default="1 kB", help="the bodies whose names have this in them ('1 kB')")
    parser.add_argument("--write", action="store_true", help="replace the table in docs/performance.md")
    options = parser.parse_args(arguments)
    try:
        counted = {row: _count(row, options.requests) for row in rows(options.only)}
    except FailedError as failed:
        print(f"instructions: {failed}", file=sys.stderr)
        return 1
    text = f"{_table(counted)}\n\n{source('instructions.py', arguments)}"
    print(text)
    if options.write:
        write("instructions", text)
    return 0


def _count(row: Row, requests: int) -> float:
    """Give the instructions a request, of a row that has an Envoy to itself."""
    with tempfile.TemporaryDirectory(prefix="instructions-") as folder, Processes(Path(folder)) as processes:
        counts = Path(folder, "counts")
        callgrind = (
            "--tool=callgrind",
            "--trace-children=yes",  # the command is a script that becomes Envoy
            "--smc-check=all",
            "--instr-atstart=no",
            f"--callgrind-out-file={counts}",
        )
        under = (program("valgrind", INSTALL), *callgrind)
        stage = set_up(processes, Path(folder), Upstream.SINK, [row], under)
        envoy, content = stage.envoys[row.proxy], stage.files[row.body].read_bytes()
        with httpx.Client(timeout=60, trust_env=False) as client:
            _ask(client, envoy.url, content, row, WARM_REQUESTS)
            _control(envoy.pid, "-i", "on")
            _ask(client, envoy.url, content, row, 1)
            _control(envoy.pid, "-z")
            _ask(client, envoy.url, content, row, requests)
            _control(envoy.pid, "-d")
        processes.check()
        return max(map(_total, Path(folder).glob("counts*"))) / requests


def _ask(client: httpx.Client, url: str, content: bytes, row: Row, times: int) -> None:
    headers = {"host": HOST, "content-type": "application/json", "x-demo-chunks": str(row.body.chunks or 1)}
    for _ in range(times):
        status = client.post(url, content=content, headers=headers).status_code
        if status != httpx.codes.OK:
            raise FailedError(f"{row.proxy}, {row.body.name}: answered {status}")


def _control(pid: int, *what: str) -> None:
    command = (program("callgrind_control", INSTALL), *what, str(pid))
    ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    if ran.returncode:
        raise FailedError(f"callgrind_control failed: {(ran.stderr or ran.stdout).strip()}")


def _total(counts: Path) -> int:
    found = COUNTED.search(counts.read_text(encoding="utf-8"))
    return int(found[1]) if found else 0


def _table(counted: Mapping[Row, float]) -> str:
    plain = {row.body: count for row, count in counted.items() if row.proxy is Proxy.PLAIN}
    found = [
        (row.body.name, row.proxy, f"{count:,.0f}", f"{count / plain[row.body]:.2f}")
        for row, count in counted.items()
    ]
    return table(("", "", "instructions/request", "of plain"), found)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
