"""What the API counts, in prometheus_client's process-wide registry, where the operations server reads it.

The one place with module state: a name may be registered once a process.
"""

from prometheus_client import Counter, Histogram

CALLS = Counter("igw_api_calls", "Calls answered over HTTP, by method and status.", ["method", "code"])
CALL_SECONDS = Histogram(
    "igw_api_call_seconds",
    "Time from a call's headers to the end of its answer, by method and status.",
    ["method", "code"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5),
)
