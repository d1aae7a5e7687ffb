"""What every client command opens: a client of the chosen server, and an error's end of the program."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console

from igw_cli.access import Given, access
from igw_cli.client import Client, FailedError
from igw_cli.options import fail
from igw_cli.show import plain


@contextlib.contextmanager
def session(server: str | None, token: str | None, token_file: Path | None) -> Iterator[Client]:
    """Give a client of the server that options, environment and files choose; a failure ends the program."""
    with told():
        chosen = access(Given(server, token, token_file), os.environ)
        with Client(chosen.server, chosen.token, ca_file=chosen.ca_file) as client:
            yield client


@contextlib.contextmanager
def told() -> Iterator[None]:
    """End the program with the message and the status of a failure."""
    try:
        yield
    except FailedError as error:
        fail(plain(str(error)), error.status)


def progress() -> Console:
    """Give the console for what is no result: standard error."""
    return Console(stderr=True, soft_wrap=True, highlight=False)
