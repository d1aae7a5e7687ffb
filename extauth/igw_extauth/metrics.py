"""What extauth counts, in prometheus_client's process-wide registry, where the operations server reads it.

The one place with module state: a name may be registered once a process, so services in one process add up.
"""

from igw_ops.tally import Tally
from igw_ops.timings import Timings
from prometheus_client import REGISTRY, Counter, Gauge, Histogram

CHECKS = Tally(
    "igw_extauth_checks",
    "Checks answered, by the gateway's provider and by outcome.",
    ["provider", "outcome"],
)
CACHE = Tally("igw_extauth_identity_cache", "Look-ups in the identity cache, by result.", ["result"])
CHECK_SECONDS = Timings(
    "igw_extauth_check_seconds",
    "From a check that was read to its answer, look-ups included.",
    (0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5),
)
AUTHORITY_CALLS = Tally(
    "igw_extauth_authority_calls",
    "Questions to an authority, by provider, by lane (new or known tokens) and by result.",
    ["provider", "lane", "result"],
)
AUTHORITY_REFUSED = Tally(
    "igw_extauth_authority_refused",
    "Questions that an authority was spared, by provider, by lane and by reason.",
    ["provider", "lane", "reason"],
)
STALE_ANSWERS = Tally(
    "igw_extauth_stale_answers",
    "Answers past their time, given because the authority failed, by provider.",
    ["provider"],
)
REVOCATIONS = Tally("igw_extauth_revocations", "Tokens that an operator revoked.", [])
SHARED_CACHE = Tally(
    "igw_extauth_shared_cache",
    "Calls of the cache in Redis, by operation and result.",
    ["operation", "result"],
)
for _collector in (
    CHECKS,
    CACHE,
    CHECK_SECONDS,
    AUTHORITY_CALLS,
    AUTHORITY_REFUSED,
    STALE_ANSWERS,
    REVOCATIONS,
    SHARED_CACHE,
):
    REGISTRY.register(_collector)
AUTHORITY_SECONDS = Histogram(
    "igw_extauth_authority_seconds",
    "Time an authority took to say whose a token is, by provider.",
    ["provider"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5),
)
AUTHORITY_BREAKER = Gauge(
    "igw_extauth_authority_breaker",
    "Whether an authority is left alone: 0 closed, 1 half-open (one question at a time), 2 open (none).",
    ["provider", "lane"],
)
WORKERS = Gauge("igw_extauth_workers", "Workers that answer checks.")
RESTARTS = Counter("igw_extauth_worker_restarts", "Workers started again after they died.")
