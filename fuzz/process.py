"""The process that tries inputs: `python -m fuzz.process TARGET` with libFuzzer's options and folders behind it."""

import logging
import signal
import sys
from collections.abc import Callable

import atheris
import structlog

from fuzz.target import INPUT_SECONDS, packages, target


class TooLongError(BaseException):
    """An input took more than its time; what is tried may not swallow it."""


def main() -> None:
    """Instrument what the target watches while it is imported, and try inputs until told to end."""
    name, *options = sys.argv[1:]
    logging.disable()  # what is said of each bad input would take most of the time
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    with atheris.instrument_imports(include=packages(name)):
        chosen = target(name)
    again = f"{sys.executable} -m fuzz.process {name}"  # how libFuzzer starts itself to merge
    atheris.Setup([again, f"-max_len={chosen.max_bytes}", *options], bounded(chosen.check, INPUT_SECONDS))
    atheris.Fuzz()


def bounded(check: Callable[[bytes], None], seconds: float) -> Callable[[bytes], None]:
    """Give the same within so much time of the processor: libFuzzer's own clock runs while others are served, too."""

    def over(*_: object) -> None:
        raise TooLongError

    def within(data: bytes) -> None:
        signal.setitimer(signal.ITIMER_PROF, seconds)
        try:
            check(data)
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)

    signal.signal(signal.SIGPROF, over)
    return within


if __name__ == "__main__":
    main()
