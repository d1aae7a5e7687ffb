"""The `igw` command as a program of its own: arguments in; exit status, output and errors out."""

import os
import subprocess
import sys


def igw(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `igw` to its end."""
    return subprocess.run(
        [sys.executable, "-m", "igw_cli", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={**os.environ, **environment},
    )
