"""`pytest tests/transcripts --rewrite-transcripts` (or IGW_REWRITE=1) writes what the stream answers now."""

import os

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the flag; pytest knows it when this folder is named on the command line."""
    parser.addoption("--rewrite-transcripts", action="store_true", help="write transcripts anew")


@pytest.fixture
def rewrite(request: pytest.FixtureRequest) -> bool:
    """Say whether transcripts are to be written instead of compared."""
    flag = request.config.getoption("--rewrite-transcripts", default=False)
    return bool(flag) or os.environ.get("IGW_REWRITE") == "1"
