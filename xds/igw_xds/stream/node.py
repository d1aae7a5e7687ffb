"""Who a client says it is, and why it refuses what it was sent: cut, for both are kept, logged and shown."""

from dataclasses import dataclass
from typing import Any, Final

MAX_NAME: Final = 512
"""Characters of what a client says of itself."""
MAX_ERROR: Final = 4096
"""Characters of why it refuses something."""


@dataclass(frozen=True, slots=True)
class Node:
    """Who the client says it is, from the first request of a stream."""

    id: str = ""
    zone: str = ""
    version: str = ""
    agent: str = ""
    """What kind of client it is: Envoy says `envoy`, gRPC's own client something that begins with `gRPC`."""


def node_of(node: Any) -> Node:
    """Give who a client says it is."""
    version = node.user_agent_build_version.version
    return Node(
        id=node.id[:MAX_NAME],
        zone=node.locality.zone[:MAX_NAME],
        version=f"{version.major_number}.{version.minor_number}.{version.patch}"
        if node.HasField("user_agent_build_version")
        else node.user_agent_version[:MAX_NAME],
        agent=node.user_agent_name[:MAX_NAME],
    )


def error_of(request: Any) -> str | None:
    """Give why a client refuses what it was sent; None if it does not."""
    if not request.HasField("error_detail"):
        return None
    return request.error_detail.message[:MAX_ERROR] or "it gave no reason"
