"""The management API from its client's side: a method, a path and a document in; a document or an error out.

The one error has a message for people and the exit status of the program.
"""

import ssl
import time
from collections.abc import Callable, Mapping
from enum import IntEnum
from ipaddress import ip_address
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import httpx

BASE = "/v1alpha1/inference"
TIMEOUT_SECONDS = 30.0
PAUSES_SECONDS = (0.2, 0.5, 1.0)
"""Before each new attempt of a GET; nothing else is sent twice."""


class Exit(IntEnum):
    """How `igw` ends; `igw --help` and docs/cli.md say the same."""

    OK = 0
    FAILED = 1
    INVALID = 2
    NOT_FOUND = 3
    REFUSED = 4
    CONFLICT = 5
    UNAVAILABLE = 6
    UNFINISHED = 7


class FailedError(Exception):
    """A command cannot go on; the text is for people and holds no secret."""

    def __init__(self, message: str, status: Exit = Exit.FAILED) -> None:
        super().__init__(message)
        self.status = status


_EXITS = {
    400: Exit.INVALID,
    401: Exit.REFUSED,
    403: Exit.REFUSED,
    404: Exit.NOT_FOUND,
    409: Exit.CONFLICT,
    412: Exit.CONFLICT,
    429: Exit.UNAVAILABLE,
    502: Exit.UNAVAILABLE,
    503: Exit.UNAVAILABLE,
    504: Exit.UNAVAILABLE,
}
_AGAIN = {429, 502, 503, 504}


class Client:
    """A connection to one server; `token` is sent with each request, None for a server that asks for none.

    `ca_file` has the authorities that its certificate may be of, PEM; None: those that all clients know.
    """

    def __init__(
        self,
        server: str,
        token: str | None,
        *,
        base: str = BASE,
        sleep: Callable[[float], None] = time.sleep,
        ca_file: Path | None = None,
    ) -> None:
        headers = {"accept": "application/json"}
        if token is not None:
            if not token.isascii() or not token.isprintable():
                raise FailedError("the token has characters that no token has", Exit.INVALID)
            headers["authorization"] = f"Bearer {token}"
        self._server = server
        self._sleep = sleep
        self._http = httpx.Client(
            base_url=server + base,
            headers=headers,
            timeout=TIMEOUT_SECONDS,
            verify=True if ca_file is None else _trusting(ca_file),
            trust_env=not is_loopback(server),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def get(self, *path: str, **query: str) -> dict[str, Any]:
        """Read; tried again while the server is not to be had. Raises FailedError."""
        for pause in PAUSES_SECONDS:
            try:
                answer = self._answer("GET", path, query=query)
            except FailedError:
                self._sleep(pause)
                continue
            if answer.status_code not in _AGAIN:
                return _document(answer)
            self._sleep(pause)
        return _document(self._answer("GET", path, query=query))

    def send(self, method: str, *path: str, document: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Write, once. Raises FailedError."""
        return _document(self._answer(method, path, document=document))

    def _answer(
        self,
        method: str,
        path: tuple[str, ...],
        *,
        query: Mapping[str, str] | None = None,
        document: Mapping[str, Any] | None = None,
    ) -> httpx.Response:
        url = "/" + "/".join(quote(part, safe="") for part in path)
        try:
            return self._http.request(method, url, params=query or None, json=document)
        except httpx.TimeoutException as error:
            raise FailedError(f"{self._server} does not answer in time", Exit.UNAVAILABLE) from error
        except httpx.TransportError as error:
            raise FailedError(f"{self._server} cannot be reached: {error}", Exit.UNAVAILABLE) from error


def _trusting(ca_file: Path) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca_file)
    except OSError as error:  # ssl.SSLError is one
        raise FailedError(
            f"the authorities of {ca_file} cannot be read: {error.strerror}", Exit.INVALID
        ) from error


def is_loopback(server: str) -> bool:
    """Say whether a server is on this machine: the environment's proxy, and what it sees, is for others."""
    host = httpx.URL(server).host
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _document(answer: httpx.Response) -> dict[str, Any]:
    try:
        document = answer.json()
    except ValueError:
        document = None
    if answer.is_success and isinstance(document, dict):
        return document
    raise FailedError(_message(answer, document), _EXITS.get(answer.status_code, Exit.FAILED))


def _message(answer: httpx.Response, document: Any) -> str:
    match document:
        case {"code": str(code), "message": str(message)}:
            return f"{message} ({code})"
        case _:
            return f"{answer.request.url.copy_with(query=None)} answered {answer.status_code}, not as the API does"
