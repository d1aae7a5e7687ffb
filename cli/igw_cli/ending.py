"""How a child process ends: with its parent, even one that is killed; and the words for what ended it."""

import contextlib
import ctypes
import signal

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


def end_with_parent() -> None:
    """Ask the kernel (Linux) for SIGTERM when the parent is gone; survives exec. See prctl(2).

    To be called in the child: `preexec_fn`.
    """
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def cause_of(status: int) -> str:
    """Give the words for a return code: negative is a signal's number."""
    if status >= 0:
        return f"exit status {status}"
    with contextlib.suppress(ValueError):
        return signal.Signals(-status).name
    return f"signal {-status}"
