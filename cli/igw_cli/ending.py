"""The words for what ended a child process."""

import contextlib
import signal


def cause_of(status: int) -> str:
    """Give the words for a return code: negative is a signal's number."""
    if status >= 0:
        return f"exit status {status}"
    with contextlib.suppress(ValueError):
        return signal.Signals(-status).name
    return f"signal {-status}"
