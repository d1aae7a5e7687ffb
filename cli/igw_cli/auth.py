"""`igw auth revoke`: end a token's life at every extauth at once. Only its SHA-256 digest leaves this process."""

import hashlib
import re
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import httpx
import typer

from igw_cli.client import Exit, FailedError
from igw_cli.session import told
from igw_cli.show import plain, write_json

auth = typer.Typer(no_args_is_help=True, help="Tokens, as extauth sees them.")

LOCAL_EXTAUTH = "http://127.0.0.1:18012"
TIMEOUT_SECONDS = 5.0
_DIGEST = re.compile("[0-9a-fA-F]{64}")
_MAX_CHARACTERS = 16 * 1024
"""Of a token that is read; there is none that long."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of it at one extauth; `failure` is empty when the token is revoked there."""

    extauth: str
    failure: str = ""
    status: Exit = Exit.OK


@auth.callback()
def group() -> None:
    """Keep the word `revoke`: a group with one command would be that command."""


@auth.command()
def revoke(
    token_file: Annotated[
        Path | None, typer.Option(help="File that holds the token. Default: standard input.")
    ] = None,
    sha256: Annotated[
        str | None,
        typer.Option(metavar="HEX", help="The token's SHA-256 digest, where the token is not known."),
    ] = None,
    extauth: Annotated[
        list[str] | None,
        typer.Option(
            envvar="IGW_EXTAUTH_OPS_URLS",
            metavar="URL",
            help=f"Operations port of an extauth. Repeatable; name every host's. Default: {LOCAL_EXTAUTH}.",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was done as JSON.")] = False,
) -> None:
    """Revoke a token: no extauth that is named lets it pass any more, whatever it remembers of it.

    The token is never an argument, which others on the machine could see.
    """
    with told():
        digest = _digest(token_file, sha256)
        outcomes = revoked(digest, extauth or [LOCAL_EXTAUTH])
        _show(digest, outcomes, as_json=as_json)
        failed = [outcome for outcome in outcomes if outcome.status]
        if failed:
            text = f"not revoked at {len(failed)} of {len(outcomes)}: it may still pass there"
            raise FailedError(text, failed[0].status)


def revoked(digest: str, urls: Sequence[str]) -> list[Outcome]:
    """Tell each extauth, and give what came of it."""
    with httpx.Client(timeout=TIMEOUT_SECONDS, trust_env=False) as client:
        return [_told(client, url, digest) for url in urls]


def _told(client: httpx.Client, url: str, digest: str) -> Outcome:
    try:
        answer = client.post(f"{url.rstrip('/')}/revoke", json={"sha256": digest})
    except httpx.InvalidURL as error:
        return Outcome(url, f"is no URL: {error}", Exit.INVALID)
    except (httpx.UnsupportedProtocol, httpx.LocalProtocolError) as error:
        return Outcome(url, f"is no http:// URL: {error}", Exit.INVALID)
    except httpx.TransportError as error:
        return Outcome(url, f"cannot be reached: {error or type(error).__name__}", Exit.UNAVAILABLE)
    if answer.status_code == httpx.codes.NO_CONTENT:
        return Outcome(url)
    status = Exit.UNAVAILABLE if answer.status_code >= httpx.codes.INTERNAL_SERVER_ERROR else Exit.FAILED
    return Outcome(url, f"answered {answer.status_code}: {answer.text[:200].strip()}", status)


def _digest(token_file: Path | None, sha256: str | None) -> str:
    if sha256 is not None:
        if token_file is not None:
            raise FailedError("--sha256 and --token-file exclude each other", Exit.INVALID)
        if not _DIGEST.fullmatch(sha256):
            raise FailedError("--sha256 takes 64 digits of hex", Exit.INVALID)
        return sha256.lower()
    token = _read(token_file)
    if not token or len(token) > _MAX_CHARACTERS or len(token.split()) != 1:
        raise FailedError("there is no token: one line is read, and nothing else", Exit.INVALID)
    return hashlib.sha256(token.encode(errors="surrogateescape")).hexdigest()


def _read(token_file: Path | None) -> str:
    if token_file is None:
        if sys.stdin.isatty():
            return str(typer.prompt("Token", hide_input=True)).strip()
        return sys.stdin.read(_MAX_CHARACTERS + 1).strip()
    try:
        return token_file.read_text(encoding="utf-8", errors="surrogateescape").strip()
    except OSError as error:
        raise FailedError(f"{token_file} cannot be read: {error.strerror}", Exit.INVALID) from error


def _show(digest: str, outcomes: Sequence[Outcome], *, as_json: bool) -> None:
    if as_json:
        results = [{**asdict(outcome), "revoked": not outcome.status} for outcome in outcomes]
        write_json({"sha256": digest, "results": [{k: r[k] for k in _KEYS} for r in results]})
        return
    for outcome in outcomes:
        typer.echo(plain(f"{outcome.extauth}: {outcome.failure or 'revoked'}"))


_KEYS = ("extauth", "revoked", "failure")
