"""`igw` as the first process of a container, to which the kernel passes no signal that it does not handle."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

UNSHARE = ("unshare", "--user", "--map-root-user", "--pid", "--fork", "--kill-child")


@pytest.mark.skipif(
    shutil.which("unshare") is None or subprocess.run([*UNSHARE, "true"], check=False).returncode != 0,
    reason="no namespaces may be made here",
)
def test_asked_to_end_while_it_starts(tmp_path: Path) -> None:
    """It ends, before the command that it is has a way of its own: `docker stop` need not wait and kill."""
    file = tmp_path / "definitions.yaml"
    os.mkfifo(file)
    command = [*UNSHARE, sys.executable, "-m", "igw_cli", "validate", "-f", str(file)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        try:
            with file.open("w"):  # opens when it is read, so `igw` is at work
                children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
                os.kill(int(children), signal.SIGTERM)
                assert process.wait(20) == 128 + signal.SIGTERM
        finally:
            process.kill()
