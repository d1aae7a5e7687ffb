"""The API's HTTP app: REST, Connect's routes, the reference, and /healthz, behind one access log."""

from collections.abc import Callable, Sequence
from uuid import uuid4

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from igw_api.access import Access
from igw_api.caller import Authenticate, Operation
from igw_api.failure import Code, RefusedError
from igw_api.reference import reference_routes
from igw_api.reply import refusal_reply
from igw_api.rest import rest_routes


def app(
    call: Operation,
    authenticate: Authenticate,
    connect_routes: Sequence[BaseRoute] = (),
    *,
    new_id: Callable[[], str] = lambda: str(uuid4()),
) -> Starlette:
    """Build the app over `Operations.call`."""
    routes = [
        *rest_routes(call, authenticate),
        *connect_routes,
        *reference_routes(),
        Route("/healthz", _healthz),
    ]
    built = Starlette(
        routes=routes,
        middleware=[Middleware(Access, new_id=new_id)],
        exception_handlers={404: _not_found, 405: _not_allowed},
    )
    built.router.redirect_slashes = False
    return built


async def _healthz(_: Request) -> Response:
    return PlainTextResponse("ok\n")


async def _not_found(_: Request, __: Exception) -> Response:
    return refusal_reply(RefusedError(Code.NOT_FOUND, "there is nothing at this path"))


async def _not_allowed(request: Request, error: Exception) -> Response:
    headers = dict(error.headers or {}) if isinstance(error, HTTPException) else {}
    message = f"{request.method} is not a method of this path"
    return refusal_reply(RefusedError(Code.UNIMPLEMENTED, message), status=405, **headers)
