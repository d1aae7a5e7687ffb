"""What extauth counts, in prometheus_client's process-wide registry, where the operations server reads it.

The one place with module state: a name may be registered once a process, so services in one process add up.
"""

from igw_ops.tally import Tally
from prometheus_client import REGISTRY, Histogram

CHECKS = Tally(
    "igw_extauth_checks",
    "Checks answered, by the gateway's provider and by outcome.",
    ["provider", "outcome"],
)
CACHE = Tally("igw_extauth_identity_cache", "Look-ups in the identity cache, by result.", ["result"])
for _tally in (CHECKS, CACHE):
    REGISTRY.register(_tally)
AUTHORITY_SECONDS = Histogram(
    "igw_extauth_authority_seconds",
    "Time an authority took to say whose a token is, by provider.",
    ["provider"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5),
)
