"""`pytest tests/golden --rewrite-golden` (or IGW_REWRITE=1) writes what the pipeline gives now."""

import os

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the flag; pytest knows it when this folder is named on the command line."""
    parser.addoption("--rewrite-golden", action="store_true", help="write golden files anew")


@pytest.fixture
def rewrite(request: pytest.FixtureRequest) -> bool:
    """Say whether golden files are to be written instead of compared."""
    flag = request.config.getoption("--rewrite-golden", default=False)
    return bool(flag) or os.environ.get("IGW_REWRITE") == "1"
