"""A child process that ends with its parent, even one that is killed."""

import ctypes
import signal

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


def end_with_parent() -> None:
    """Ask the kernel (Linux) for SIGTERM when the parent is gone; survives exec. See prctl(2).

    To be called in the child: as `preexec_fn`, or by itself.
    """
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
