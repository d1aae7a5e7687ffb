"""Whose a gateway's own W&B key is, as the control plane asks W&B over HTTP."""

import base64
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from igw_cli.key_owner import OutageError, wandb
from igw_extauth.settings import Settings
from igw_ops.listening import listening_socket
from igw_ops.server import serving
from pydantic import SecretStr

VALID, UNKNOWN, BROKEN = "v" * 40, "u" * 40, "b" * 40
EVE = {
    "id": "1",
    "entity": "eve",
    "username": "eve-name",
    "teams": {"edges": [{"node": {"name": "ops"}}]},
}
ANSWERS = {
    VALID: (200, {"data": {"viewer": EVE}}),
    UNKNOWN: (200, {"data": {"viewer": None}}),
    BROKEN: (500, {}),
}


class Viewer:
    """W&B's answer to the question who its caller is, by key."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def __call__(self, scope: Any, _: Any, send: Any) -> None:
        """Answer (ASGI)."""
        if scope["type"] != "http":
            return
        _, basic = dict(scope["headers"])[b"authorization"].split()
        self.asked.append(base64.b64decode(basic).decode().partition(":")[2])
        status, document = ANSWERS[self.asked[-1]]
        headers = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": json.dumps(document).encode()})


@pytest.fixture
async def viewer() -> AsyncIterator[tuple[Viewer, Settings]]:
    """Give a W&B and the settings to ask it."""
    app, listening = Viewer(), listening_socket("W&B", "127.0.0.1", 0)
    port = listening.getsockname()[1]
    async with serving(app, listening):
        yield app, Settings(wandb_graphql_url=f"http://127.0.0.1:{port}/graphql", authority_timeout_seconds=2)


async def test_whose_a_key_is(viewer: tuple[Viewer, Settings]) -> None:
    """A valid key's owner has entities, one that W&B does not know is nobody's, and anything else says nothing."""
    _, settings = viewer
    async with wandb(settings) as ask:
        owner = await ask(SecretStr(VALID))
        assert owner is not None
        assert owner >= {"eve", "ops"}
        assert await ask(SecretStr(UNKNOWN)) is None
        with pytest.raises(OutageError) as outage:
            await ask(SecretStr(BROKEN))
        assert BROKEN not in str(outage.value)


async def test_what_cannot_be_a_key_is_not_asked_for(viewer: tuple[Viewer, Settings]) -> None:
    """It is not valid, and W&B never sees it."""
    app, settings = viewer
    async with wandb(settings) as ask:
        assert await ask(SecretStr("CW-SECRET-of-somebody")) is None
    assert app.asked == []
