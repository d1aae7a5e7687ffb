"""The file of the demo's tokens."""

import json
import re
import secrets
import stat
from pathlib import Path
from typing import Any

import pytest
from igw_demo.tokens import CoreWeaveToken, DemoTokens, WandbToken, demo_tokens

TOKENS = DemoTokens(
    CoreWeaveToken("CW-SECRET-1", "me", "mine"),
    WandbToken("wandb_v1_1", "me", "mine", ("mine", "also-mine")),
    (CoreWeaveToken("CW-SECRET-2", "you", "yours"),),
)


def test_round_trip(tmp_path: Path) -> None:
    """What is saved is loaded, and the file has the documented keys."""
    TOKENS.save(tmp_path / "tokens")
    assert DemoTokens.load(tmp_path / "tokens") == TOKENS
    assert json.loads((tmp_path / "tokens").read_text()) == {
        "coreweave": {"token": "CW-SECRET-1", "uid": "me", "organization": "mine"},
        "wandb": {"token": "wandb_v1_1", "username": "me", "entity": "mine", "teams": ["mine", "also-mine"]},
        "others": [{"coreweave": {"token": "CW-SECRET-2", "uid": "you", "organization": "yours"}}],
    }


def test_only_the_owner_reads(tmp_path: Path) -> None:
    """The file has mode 0600, also where a file with a wider mode, or a link, was."""
    target = tmp_path / "elsewhere"
    target.write_text("kept")
    (tmp_path / "link").symlink_to(target)
    (tmp_path / "wide").write_text("old")
    (tmp_path / "wide").chmod(0o644)
    for name in ("new", "wide", "link"):
        TOKENS.save(tmp_path / name)
        assert stat.S_IMODE((tmp_path / name).lstat().st_mode) == 0o600
    assert target.read_text() == "kept"


@pytest.mark.parametrize(
    "document",
    [
        [],
        {},
        {"coreweave": {"token": "a"}, "wandb": {}},
        {"coreweave": 1, "wandb": 2},
        {"coreweave": {"token": "a", "uid": "b", "organization": "c"}, "wandb": {"token": "a"}},
    ],
)
def test_other_content(tmp_path: Path, document: Any) -> None:
    """A file of another shape is a ValueError."""
    (tmp_path / "tokens").write_text(json.dumps(document))
    with pytest.raises(ValueError, match="token"):
        DemoTokens.load(tmp_path / "tokens")


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[]"])
def test_what_cannot_be_read_is_named(tmp_path: Path, content: bytes) -> None:
    """Whatever is wrong with the file, the error says which it is and what to do."""
    (tmp_path / "tokens").write_bytes(content)
    with pytest.raises(
        ValueError, match=rf"^{tmp_path}/tokens is no file of tokens \(removed, it is made anew\): "
    ):
        DemoTokens.load(tmp_path / "tokens")


def test_teams_may_be_left_out(tmp_path: Path) -> None:
    """A user without teams in the file is in the team of the default entity."""
    coreweave = {"token": "a", "uid": "b", "organization": "c"}
    document = {"coreweave": coreweave, "wandb": {"token": "k", "username": "u", "entity": "e"}}
    (tmp_path / "tokens").write_text(json.dumps(document))
    loaded = DemoTokens.load(tmp_path / "tokens")
    assert (loaded.wandb.teams, loaded.others) == (("e",), ())


def test_made_tokens_have_the_real_shapes() -> None:
    """CoreWeave's begin with CW-SECRET-, W&B's are at least 40 of `[A-Za-z0-9_-]`."""
    made = demo_tokens(secrets.token_urlsafe, "my-org")
    assert re.fullmatch(r"CW-SECRET-[\w-]{40,}", made.coreweave.token)
    assert re.fullmatch(r"wandb_v1_[\w-]{40,}", made.wandb.token)
    assert (made.coreweave.organization, made.wandb.entity) == ("my-org", "my-org")
    assert made != demo_tokens(secrets.token_urlsafe, "my-org")


def test_tokens_do_not_show() -> None:
    """No `repr`, and so no log line or traceback, shows a token."""
    assert "CW-SECRET" not in repr(TOKENS)
    assert "wandb_v1" not in repr(TOKENS)
