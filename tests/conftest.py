"""What holds for every test."""

import gc
from collections.abc import Iterator

import pytest

with pytest.MonkeyPatch.context() as patch:
    # Tests start programs by a fork, in which gRPC is to do nothing: its threads cannot be there, and it aborts. It
    # reads this when it is imported; what tests start has its environment as it is.
    patch.setenv("GRPC_ENABLE_FORK_SUPPORT", "0")
    import grpc  # noqa: F401

gc.set_threshold(50_000)  # what tests import and what is collected of them stays


@pytest.fixture(scope="session", autouse=True)
def _short_collections() -> None:
    """Have nobody look through what stays, all modules and tests: on a busy machine that is a stall of a second."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def _logs_as_they_are() -> Iterator[None]:
    """Leave this process's logs as pytest has them, whatever a test runs in it.

    They are set once for a whole process: of a command that runs in a test they would write to an output that ended
    with it, and no later test could read what is logged.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("igw_ops.logs.configure", lambda *_: None)
        yield
