"""Which server the client commands ask, with which token, and whom they trust: what is set where in, one choice out.

The first that says something counts: option, environment, configuration file, what `igw up` left in the state
folder. A token goes only where it belongs: one from the file to the file's server, the local one to this machine.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import typer

from igw_cli.client import Exit, FailedError, is_loopback
from igw_cli.state import admin_token

LOCAL_SERVER = "http://127.0.0.1:8081"
_KEYS = {"server", "tokenFile", "caFile"}

Server = Annotated[
    str | None, typer.Option(help=f"The management API. Also IGW_SERVER. Default: {LOCAL_SERVER}.")
]
Token = Annotated[
    str | None,
    typer.Option(help="Bearer token. Better IGW_TOKEN or --token-file: a command line is seen by others."),
]
TokenFile = Annotated[
    Path | None, typer.Option(help="File that holds the bearer token. Also IGW_TOKEN_FILE.")
]


@dataclass(frozen=True, slots=True)
class Given:
    """What the options say."""

    server: str | None = None
    token: str | None = field(default=None, repr=False)
    token_file: Path | None = None


@dataclass(frozen=True, slots=True)
class Configured:
    """What the configuration file says."""

    server: str | None = None
    token_file: Path | None = None
    ca_file: Path | None = None


@dataclass(frozen=True, slots=True)
class Access:
    """The server to ask and the token to ask with."""

    server: str
    token: str = field(repr=False)
    ca_file: Path | None = None
    """The authorities that the server's certificate may be of, PEM; None: those that all clients know."""


def access(given: Given, environment: Mapping[str, str]) -> Access:
    """Give the server and the token. Raises FailedError where there is none, or a file cannot be read."""
    configured = configuration(environment)
    server = checked_url(
        given.server or environment.get("IGW_SERVER") or configured.server or LOCAL_SERVER, "the server"
    )
    if checked_url(configured.server or LOCAL_SERVER, "the server") != server:
        configured = Configured()
    token = _token(given, environment, configured.token_file, server)
    ca_file = environment.get("IGW_CA_FILE")
    return Access(server, token, Path(ca_file) if ca_file else configured.ca_file)


def configuration(environment: Mapping[str, str]) -> Configured:
    """Read the configuration file: IGW_CONFIG, which must then exist, or ~/.config/igw/config.yaml."""
    named = environment.get("IGW_CONFIG")
    home = Path(environment.get("XDG_CONFIG_HOME") or Path(environment.get("HOME", "/"), ".config"))
    path = Path(named) if named else home / "igw" / "config.yaml"
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        if named:
            raise FailedError(f"{path}: no such file", Exit.INVALID) from None
        return Configured()
    except (OSError, ValueError) as error:
        raise FailedError(f"{path} cannot be read: {_reason(error)}", Exit.INVALID) from error
    return _configured(path, text, environment)


def _configured(path: Path, text: str, environment: Mapping[str, str]) -> Configured:
    import yaml  # noqa: PLC0415 - read only where there is a file

    try:
        document = yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        raise FailedError(f"{path} is no YAML", Exit.INVALID) from error
    if not isinstance(document, dict) or not all(isinstance(value, str) for value in document.values()):
        raise FailedError(f"{path} must be an object of texts: {', '.join(sorted(_KEYS))}", Exit.INVALID)
    if unknown := set(document) - _KEYS:
        raise FailedError(f"{path}: unknown field {min(map(str, unknown))}", Exit.INVALID)
    token_file, ca_file = (_beside(path, document.get(key), environment) for key in ("tokenFile", "caFile"))
    return Configured(document.get("server"), token_file, ca_file)


def _beside(config: Path, text: str | None, environment: Mapping[str, str]) -> Path | None:
    if text is None:
        return None
    if text.startswith("~/"):
        return Path(environment.get("HOME", "/"), text[2:])
    return config.parent / text


def _token(given: Given, environment: Mapping[str, str], configured: Path | None, server: str) -> str:
    if given.token:
        return given.token
    if given.token_file:
        return _read(given.token_file)
    if token := environment.get("IGW_TOKEN"):
        return token
    if path := environment.get("IGW_TOKEN_FILE"):
        return _read(Path(path))
    if configured:
        return _read(configured)
    local = admin_token(Path(environment.get("IGW_STATE_DIR", ".igw")))
    if is_loopback(server) and local.exists():
        return _read(local)
    raise FailedError(
        f"no token for {server}: set IGW_TOKEN or --token-file, "
        "or run this where `igw up` has its state folder (.igw, or IGW_STATE_DIR)",
        Exit.REFUSED,
    )


def _read(path: Path) -> str:
    try:
        token = path.read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as error:
        raise FailedError(f"the token file {path} cannot be read: {_reason(error)}", Exit.INVALID) from error
    if not token:
        raise FailedError(f"the token file {path} is empty", Exit.INVALID)
    return token


def checked_url(text: str, what: str) -> str:
    """Give the URL of a server, without a slash at its end. Raises FailedError for anything else."""
    try:
        url = urlsplit(text)
        bare = url.username is None and not (url.query or url.fragment)
        usable = url.scheme in {"http", "https"} and bool(url.hostname) and bare and url.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise FailedError(f"{what} must be an http:// or https:// URL: {text!r}", Exit.INVALID)
    return text.rstrip("/")


def _reason(error: Any) -> str:
    return getattr(error, "strerror", None) or type(error).__name__
