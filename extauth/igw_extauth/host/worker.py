"""One worker: ``python -m igw_extauth.host.worker <pipe> <HTTP> <gRPC>``, inherited sockets by number.

It accepts from sockets that all workers share, and asks the keeper over the pipe. It ends when it is asked to, or when
the keeper is gone: after what is under way.
"""

import asyncio
import contextlib
import socket
import sys
from pathlib import Path

import structlog
from igw_certs.contexts import ServerTls
from igw_ops import logs, process
from igw_ops.parent import end_with_parent

from igw_extauth.host.pipe import PipeKeeper
from igw_extauth.host.sums import families, summable
from igw_extauth.wire.front import Front, Listening, guarding


async def work(pipe: socket.socket, sockets: Listening, stop: asyncio.Event) -> None:
    """Answer checks until `stop` is set or the keeper is gone. Raises ConnectionResetError if it never was."""
    keeper = await PipeKeeper.connected(pipe)
    begin = keeper.begun.result()
    logs.configure("extauth", begin.log_level)
    structlog.contextvars.bind_contextvars(worker=begin.worker)
    front = Front(keeper, begin.secret, begin.entries)
    keeper.forget = front.forget
    keeper.families = lambda: summable(families())
    with contextlib.nullcontext() if begin.tls is None else guarding(_tls(*begin.tls)) as guard:
        await front.start(sockets, shared=True, guard=guard)
        keeper.listening()
        await _first(stop, keeper.gone)
        await front.stop()
    keeper.close()


def _tls(cert: str, key: str, ca: str, trust_domain: str) -> ServerTls:
    return ServerTls(Path(cert), Path(key), Path(ca), trust_domain)


async def _first(*events: asyncio.Event) -> None:
    tasks = [asyncio.create_task(event.wait()) for event in events]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()


def main() -> None:
    """Run a worker to its end."""
    pipe, http, grpc = (socket.socket(fileno=int(number)) for number in sys.argv[1:4])
    end_with_parent()  # of which the pipe may tell late
    with contextlib.suppress(ConnectionResetError):
        process.run(lambda stop: work(pipe, Listening(http, grpc), stop))


if __name__ == "__main__":
    main()
