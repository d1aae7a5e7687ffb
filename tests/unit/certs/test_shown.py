"""The one pair that a server shows to anybody: it follows that one, whatever comes to lie beside it."""

from pathlib import Path

import pytest
from igw_certs.authority import Authority
from igw_certs.shown import Shown
from structlog.testing import capture_logs

from tests.pairs import write_pair

API, OLD = "api.example.com", "old.example.com"


@pytest.mark.parametrize(
    ("place", "beside"),
    [(".", "old"), (".", "api"), ("pair", "zzz"), ("pair", "live/zzz"), ("live/pair", "live/zzz")],
)
def test_a_pair_that_comes_beside_it_is_not_shown(tmp_path: Path, place: str, beside: str) -> None:
    """Nor where it takes the name that the shown one had; a renewal of that one is followed as ever."""
    authority, folder = Authority.kept(tmp_path / "authority"), tmp_path / "api"
    write_pair(folder / place, authority.issue_server([API]))
    shown = Shown(folder, 0)
    write_pair(folder / beside, authority.issue_server([OLD]))
    renewed = authority.issue_server([API])
    write_pair(folder / place, renewed)
    assert shown.current() == renewed
    assert shown.certificate().trouble == ""


def test_a_pair_that_is_gone_is_shown_on(tmp_path: Path) -> None:
    """It is told of, and what lies beside it does not take its place."""
    authority, folder = Authority.kept(tmp_path / "authority"), tmp_path / "api"
    first = authority.issue_server([API])
    write_pair(folder / "pair", first)
    shown = Shown(folder, 0)
    (folder / "pair").rename(tmp_path / "aside")
    write_pair(folder / "old", authority.issue_server([OLD]))
    with capture_logs() as logs:
        for _ in range(2):
            assert shown.current() == first
    assert shown.certificate().trouble == "fullchain.pem is missing"
    assert [line["event"] for line in logs] == ["tls_files_bad"]
