"""One stack for all tests of this folder."""

from collections.abc import Iterator

import pytest

from tests.compose.stack import Stack, running


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    """The demo, up."""
    images = {"IGW_IMAGE": "inference-gateway:test", "IGW_ENVOY_IMAGE": "inference-gateway-envoy:test"}
    with running(images) as found:
        yield found
