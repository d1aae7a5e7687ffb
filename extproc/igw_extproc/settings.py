"""What the extproc process can be told."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Settings:
    """Where to listen, and the bounds; port 0 takes a free port."""

    host: str = "127.0.0.1"
    port: int = 18020
    ops_host: str = "127.0.0.1"
    ops_port: int = 18021
    max_body_bytes: int = 16 * 1024 * 1024
    """The longest body that is read; a longer one is answered as Envoy answers one above its own limit."""
    max_exchanges: int = 1000
    """Exchanges at once, per connection; Envoy is told so (HTTP/2 SETTINGS), and more are refused."""
