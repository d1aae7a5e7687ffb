"""The collector's operations server: its questions about usage, its status, and reports that are to be sent again."""

from collections.abc import Callable
from typing import Any

from igw_ops.server import operations_app
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from igw_usage.ledger import FullError, Ledger, UnavailableError
from igw_usage.query import WrongError, answer, query
from igw_usage.storing import dropped_rows


def app(ledger: Ledger, now: Callable[[], float], stopping: Callable[[], bool]) -> Starlette:
    """Build the app over a ledger; `now` is in seconds since 1970."""

    async def usage(request: Request) -> Response:
        try:
            asked = query(request.query_params.multi_items(), now())
            return JSONResponse(await ledger.read(lambda connection: answer(connection, asked)))
        except WrongError as error:
            return JSONResponse({"field": error.field, "message": str(error)}, 400)
        except (FullError, UnavailableError):
            return JSONResponse({"message": "too busy to answer; ask for less, or later"}, 503)

    async def send_again(_: Request) -> Response:
        try:
            return JSONResponse({"reports": await ledger.send_again()})
        except UnavailableError as error:
            return JSONResponse({"message": str(error)}, 503)

    more = [
        Route("/usage", usage),
        Route("/reports/again", send_again, methods=["POST"]),
    ]
    # A disk that takes nothing is in the status: taken out of service, it would never be written to again, nor asked.
    return operations_app(lambda: "stopping" if stopping() else None, lambda: _status(ledger), more=more)


def _status(ledger: Ledger) -> dict[str, Any]:
    rows = ledger.rows
    return {
        "failure": ledger.failure,
        "rows": {"totals": rows.totals, "seen": rows.seen, "outbox": rows.outbox},
        "dropped": dropped_rows(rows),
        "outbox": {
            "waiting": ledger.depth.waiting,
            "refused": rows.outbox - ledger.depth.waiting,
            "oldestSeconds": ledger.oldest_seconds(),
        },
        "waitingBytes": ledger.waiting_bytes,
    }
