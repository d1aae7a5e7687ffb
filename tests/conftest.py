"""What holds for every test."""

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session", autouse=True)
def _logs_as_they_are() -> Iterator[None]:
    """Leave this process's logs as pytest has them, whatever a test runs in it.

    They are set once for a whole process: of a command that runs in a test they would write to an output that ended
    with it, and no later test could read what is logged.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("igw_ops.logs.configure", lambda *_: None)
        yield
