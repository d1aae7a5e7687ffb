"""How a drain goes on, by what clients do: accept, finish, end."""

from itertools import pairwise
from pathlib import Path

import pytest
from igw_cli.admin import activity
from igw_cli.drain import Activity, Drain, Step
from igw_cli.envoy import envoy_argv

ACCEPT, FINISH, END = Step.ACCEPT, Step.FINISH, Step.END
IDLE = Activity(connections=7, requests=0, unsent=0)


def told(seconds: float, *seen: tuple[float, Activity | None]) -> list[tuple[float, Step]]:
    """Give the steps as they change, of a drain that begins at 100 and sees this at these times after that."""
    drain = Drain(100, seconds)
    steps = [(at, drain.step(100 + at, what)) for at, what in seen]
    return [steps[0], *(later for before, later in pairwise(steps) if before[1] != later[1])]


def each(step: float, until: float, what: Activity | None) -> list[tuple[float, Activity | None]]:
    """Give the same sight again and again."""
    return [(round(step * n, 3), what) for n in range(int(until / step) + 1)]


def test_an_idle_envoy() -> None:
    """A second for clients to notice, a moment for the last connection, and it ends."""
    assert told(30, *each(0.1, 3, IDLE)) == [(0, ACCEPT), (1.0, FINISH), (1.4, END)]


def test_who_has_not_noticed_is_served() -> None:
    """While new connections come they are taken: a second longer than the last."""
    seen = [(0.5 * n, Activity(min(n, 8), 1, 0)) for n in range(40)]
    assert told(30, *seen)[:2] == [(0, ACCEPT), (5.0, FINISH)]


def test_who_never_notices_is_refused_after_half_of_the_time() -> None:
    """So that what is under way gets the other half."""
    seen = [(0.5 * n, Activity(n, 1, 0)) for n in range(40)]
    assert told(10, *seen) == [(0, ACCEPT), (5.0, FINISH), (10.0, END)]


@pytest.mark.parametrize("busy", [Activity(7, 1, 0), Activity(7, 0, 4096)])
def test_what_is_under_way_is_waited_for(busy: Activity) -> None:
    """A request, or the end of an answer that the client is slow to read; then the moment begins anew."""
    seen = [(at, busy if at < 4 else IDLE) for at, _ in each(0.125, 6, None)]
    assert told(30, *seen) == [(0, ACCEPT), (1.0, FINISH), (4.375, END)]


def test_an_envoy_that_does_not_tell_is_not_taken_for_idle() -> None:
    """It may be busy: it has all of the time."""
    assert told(10, *each(0.5, 11, None)) == [(0, ACCEPT), (1.0, FINISH), (10.0, END)]
    seen = [(at, IDLE if at < 1.25 else None) for at, _ in each(0.125, 11, None)]
    assert told(10, *seen) == [(0, ACCEPT), (1.0, FINISH), (10.0, END)]


def test_no_time_at_all() -> None:
    """It ends at once."""
    assert told(0, (0, Activity(1, 1, 1))) == [(0, END)]


def test_activity_is_read_from_the_stats() -> None:
    """Of the clients' listener alone; what is not there yet is 0."""
    lines = "http.ingress.downstream_cx_total: 12\nhttp.igw_stats.downstream_rq_active: 5\n"
    assert activity(lines) == Activity(12, 0, 0)
    assert activity(f"{lines}http.ingress.downstream_rq_active: 3\n") == Activity(12, 3, 0)
    assert activity("http.ingress.downstream_cx_tx_bytes_buffered: 9\n") == Activity(0, 0, 9)


def test_arguments_of_envoy() -> None:
    """No shared memory; what Envoy calls information is left out, and requests, even in debug; workers where named."""
    common = ("--disable-hot-restart", "--file-flush-interval-msec", "500")
    assert envoy_argv("/bin/envoy", Path("/b.json"), "info", None) == (
        *("/bin/envoy", "-c", "/b.json", "--log-level", "warning"),
        *common,
    )
    assert envoy_argv("e", Path("b"), "debug", 2)[3:] == (
        "--log-level",
        "debug",
        "--disable-hot-restart",
        "--component-log-level",
        "client:info,ext_authz:info,ext_proc:info,filter:info,http:info,http2:info,lua:info,rbac:info,router:info",
        *common[1:],
        "--concurrency",
        "2",
    )
