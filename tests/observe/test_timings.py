"""Durations of hot paths: each is observed once, in the right bucket."""

from igw_ops.timings import Timings
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from tests.observe.conftest import Observed
from tests.real_envoy.running import eventually


def test_buckets_hold_what_is_not_above_their_bound() -> None:
    """As Prometheus has it: cumulative, a bound belongs to its bucket, and the last holds everything."""
    timings, registry = Timings("t_seconds", "A test's.", (0.1, 1)), CollectorRegistry()
    registry.register(timings)
    for seconds in (0.05, 0.1, 0.5, 3):
        timings.observe(seconds)
    buckets = {
        bound: registry.get_sample_value("t_seconds_bucket", {"le": bound})
        for bound in ("0.1", "1.0", "+Inf")
    }
    assert buckets == {"0.1": 2, "1.0": 3, "+Inf": 4}
    assert registry.get_sample_value("t_seconds_count") == 4
    assert registry.get_sample_value("t_seconds_sum") == 3.65


def test_every_check_and_every_exchange_is_timed(observed: Observed) -> None:
    """What is counted by outcome is timed, whichever way it was answered: remembered, looked up, refused."""
    _all_timed(observed, "extauth", "igw_extauth_checks", "igw_extauth_check_seconds")
    _all_timed(observed, "extproc", "igw_extproc_exchanges", "igw_extproc_exchange_seconds")


def _all_timed(observed: Observed, job: str, counted: str, timed: str) -> None:
    eventually(lambda: _total(observed.metrics(job), f"{counted}_total") > 10, 30)
    text = observed.metrics(job)
    assert _total(text, f"{counted}_total") == _total(text, f"{timed}_count")


def _total(text: str, name: str) -> float:
    families = text_string_to_metric_families(text)
    return sum(sample.value for family in families for sample in family.samples if sample.name == name)
