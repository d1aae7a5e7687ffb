"""The `igw` command: arguments in; exit status, output and errors out. As a program of its own, or in this process."""

import os
import subprocess
import sys
from dataclasses import dataclass

from igw_cli.__main__ import app
from typer.testing import CliRunner


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


@dataclass(frozen=True)
class Done:
    """How `igw` ended and what it wrote."""

    status: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        """Give the lines of standard output without what pads them."""
        return [line.rstrip() for line in self.out.splitlines()]


def run(*arguments: object, **environment: str) -> Done:
    """Run `igw` in this process, as a script does: no terminal."""
    result = CliRunner().invoke(app, [*map(str, arguments)], env=environment)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Done(result.exit_code, result.stdout, result.stderr)
