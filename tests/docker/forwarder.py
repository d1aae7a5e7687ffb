"""A TCP forwarder to the engine's socket that can be cut, and go deaf: connections stay, and nothing passes."""

import asyncio
import contextlib
import re

SOCKET = "/var/run/docker.sock"
_REQUEST = re.compile(rb"^([A-Z]+) (/\S*) HTTP/1\.1\r$", re.MULTILINE)


class Forwarder:
    """One port; `requests` are the calls that passed, as `GET /path`."""

    def __init__(self) -> None:
        self.port = 0
        self.requests: list[str] = []
        self._server: asyncio.Server | None = None
        self._hears = asyncio.Event()
        self._hears.set()
        self._connections: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        return f"tcp://127.0.0.1:{self.port}"

    async def open(self) -> None:
        """Listen, on the same port as before."""
        self._server = await asyncio.start_server(self._connection, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def cut(self) -> None:
        """Close the port and every connection."""
        if self._server is not None:
            self._server.close()
        for task in list(self._connections):
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    def deaf(self) -> None:
        """Let nothing pass from now on."""
        self._hears.clear()

    def hear(self) -> None:
        """Let it pass again, and all that waits."""
        self._hears.set()

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            upstream, downstream = await asyncio.open_unix_connection(SOCKET)
            with contextlib.closing(downstream), contextlib.closing(writer):
                async with asyncio.TaskGroup() as both:
                    both.create_task(self._pass(reader, downstream, note=True))
                    both.create_task(self._pass(upstream, writer))
        except (OSError, ExceptionGroup, asyncio.CancelledError):
            pass
        finally:
            self._connections.discard(task)

    async def _pass(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, note: bool = False
    ) -> None:
        while data := await reader.read(65536):
            await self._hears.wait()
            if note:
                self.requests += [f"{m[1].decode()} {m[2].decode()}" for m in _REQUEST.finditer(data)]
            writer.write(data)
            await writer.drain()
        writer.close()
        raise ConnectionResetError  # the other direction ends too
