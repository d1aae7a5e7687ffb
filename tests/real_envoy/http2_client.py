"""A request over HTTP/2 as few libraries send it: its body in frames as told, and trailers."""

import socket
from collections.abc import Mapping, Sequence

import h2.config
import h2.connection
import h2.events


def request(
    port: int, headers: Mapping[str, str], frames: Sequence[bytes], trailers: Mapping[str, str]
) -> dict[str, str]:
    """Send it over a connection of its own; give the headers of the answer."""
    connection = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
    with socket.create_connection(("127.0.0.1", port), timeout=30) as peer:
        connection.initiate_connection()
        connection.send_headers(1, list(headers.items()))
        for frame in frames:
            connection.send_data(1, frame)
        connection.send_headers(1, list(trailers.items()), end_stream=True)
        while True:
            peer.sendall(connection.data_to_send())
            for event in connection.receive_data(peer.recv(65536)):
                if isinstance(event, h2.events.ResponseReceived):
                    return {str(name): str(value) for name, value in event.headers}
