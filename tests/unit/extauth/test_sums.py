"""What several processes count, added up."""

from igw_extauth.host.sums import Families, Family, added, exposition, families, lasting, summable
from igw_ops.tally import Tally
from igw_ops.timings import Timings
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram


def process(allowed: int, denied: int, open_: float, seconds: float) -> Families:
    """Give what a process counts."""
    registry = CollectorRegistry()
    checks = Tally("checks", "Checks.", ["outcome", "provider"])
    timings = Timings("check_seconds", "Time.", (0.1, 1))
    registry.register(checks)
    registry.register(timings)
    for outcome, times in (("allowed", allowed), ("denied", denied)):
        for _ in range(times):
            checks.count(outcome, "wandb")
    timings.observe(seconds)
    Gauge("open", "Open.", registry=registry).set(open_)
    Counter("restarts", "Restarts.", registry=registry).inc(allowed)
    Histogram("authority", "Time.", ["of"], buckets=(1,), registry=registry).labels("cw").observe(seconds)
    return families(registry)


SUM = """\
# HELP checks_total Checks.
# TYPE checks_total counter
checks_total{outcome="allowed",provider="wandb"} 5.0
checks_total{outcome="denied",provider="wandb"} 1.0
# HELP check_seconds Time.
# TYPE check_seconds histogram
check_seconds_bucket{le="0.1"} 1.0
check_seconds_bucket{le="1.0"} 2.0
check_seconds_bucket{le="+Inf"} 2.0
check_seconds_count 2.0
check_seconds_sum 0.55
# HELP open Open.
# TYPE open gauge
open 2.5
# HELP restarts_total Restarts.
# TYPE restarts_total counter
restarts_total 5.0
# HELP authority Time.
# TYPE authority histogram
authority_bucket{le="1.0",of="cw"} 2.0
authority_bucket{le="+Inf",of="cw"} 2.0
authority_count{of="cw"} 2.0
authority_sum{of="cw"} 0.55
"""


def test_counters_gauges_and_histograms_add_up() -> None:
    """Label by label and bucket by bucket; what one process alone has is there too."""
    assert exposition(added([process(2, 0, 1, 0.05), process(3, 1, 1.5, 0.5)])).decode() == SUM


def test_of_those_that_are_gone_the_counts_stay() -> None:
    """How things stood there is nothing any more."""
    gone = lasting(process(2, 0, 1, 0.05))
    assert "open" not in {family.name for family in gone}
    assert exposition(added([process(3, 1, 2.5, 0.5), gone])).decode() == SUM


def test_what_is_no_sum_is_left_to_one_process() -> None:
    """When a process began, or which Python it runs, does not add up."""
    given = tuple(
        Family(name, "gauge", "", ()) for name in ("process_start_time_seconds", "python_info", "x")
    )
    assert [family.name for family in summable(given)] == ["x"]


def test_nothing_adds_up_to_nothing() -> None:
    """No process, no metric."""
    assert (added([]), exposition(())) == ((), b"")


def test_of_ends_the_first_counts() -> None:
    """Several workers follow the same files; a sum of times would be none."""
    ends = [
        (Family(name := "igw_tls_not_after_seconds", "gauge", "", ((name, {}, end),)),)
        for end in (3.0, 2.0, 9.0)
    ]
    [family] = added(ends)
    assert family.samples == ((name, {}, 2.0),)
