"""Every `stories/*.txt` plays as it is written. To add a story, write its inputs and rewrite."""

from pathlib import Path

import pytest

from tests.transcripts.conversation import play

STORIES = sorted((Path(__file__).parent / "stories").glob("*.txt"))


@pytest.mark.parametrize("path", STORIES, ids=lambda path: path.stem)
def test_story_plays_as_written(path: Path, *, rewrite: bool) -> None:
    """A stream answers each request and publish of the story just as the file says."""
    text = path.read_text()
    played = play(text)
    if rewrite:
        path.write_text(played)
    assert played == path.read_text()


def test_every_story_is_told_for_both_transports() -> None:
    """A rule of the one transport that the other lacks would be found here."""
    stems = {path.stem for path in STORIES}
    assert {s.removeprefix("delta_") for s in stems if s.startswith("delta_")} == {
        s.removeprefix("sotw_") for s in stems if s.startswith("sotw_")
    }
