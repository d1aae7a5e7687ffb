"""Ports for what tests start: each worker gives its own, below those that the kernel gives to anybody who asks.

A port that was found by binding 0 is anybody's again until what is started binds it. For a gateway these are seconds,
and some twenty ports, in which another worker's gateway can be given one of the same: neither of the two gets ready,
or, as Envoys share a port, one is sent the other's requests.
"""

import itertools
import os
import random
import socket

FIRST, SHARE, SHARES = 20_000, 1_500, 8
"""Ends at 32,000; Linux gives ports from 32,768 on."""

_worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % SHARES
_begin = random.randrange(SHARE)  # noqa: S311 - another run of the tests is to begin elsewhere
_numbers = (FIRST + _worker * SHARE + n % SHARE for n in itertools.count(_begin))


def free_ports(count: int) -> list[int]:
    """Give ports in a row that nobody listens on, and that no other worker gives."""
    for _ in range(SHARE):
        row = list(itertools.islice(_numbers, count))
        if row[-1] - row[0] == count - 1 and all(map(_free, row)):
            return row
    raise AssertionError(f"no {count} free ports in a row from {FIRST + _worker * SHARE} on")


def free_port() -> int:
    """Give one port that nobody listens on, and that no other worker gives."""
    return free_ports(1)[0]


def _free(port: int) -> bool:
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True
