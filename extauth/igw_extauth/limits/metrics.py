"""What limits count, in prometheus_client's process-wide registry. No project is named."""

from igw_ops.tally import Tally
from prometheus_client import REGISTRY, Counter, Gauge

ADMISSIONS = Tally(
    "igw_extauth_limits_admissions",
    "Requests of W&B's projects that asked to be let in, by what came of it.",
    ["outcome"],
)
NUMBERS_REQUESTS = Tally(
    "igw_extauth_limits_numbers_requests",
    "Times that it was asked what a project may, by result.",
    ["result"],
)
for _collector in (ADMISSIONS, NUMBERS_REQUESTS):
    REGISTRY.register(_collector)
REDIS_FAILURES = Counter(
    "igw_extauth_limits_redis_failures",
    "Times that Redis did not count: it could not be reached, was slow, or refused.",
)
LEASES = Gauge("igw_extauth_limits_leases", "Slots that this host holds; none where Redis does.")
ALONE = Gauge(
    "igw_extauth_limits_alone", "1 while this host counts alone because Redis, which should count, does not."
)
TOKENS = Counter("igw_extauth_limits_tokens", "Tokens charged to projects.")
LOST_TOKENS = Counter(
    "igw_extauth_limits_lost_tokens", "Tokens that Redis was not told of: it was away for too many projects."
)
