"""The script by which Envoy itself reads the model off a JSON body: it answers any as extproc does, byte for byte."""

from igw_extproc.json_body import JsonBody
from igw_extproc.model_name import Refusal

from tests.unit.scripts.body_requests import play, refusal

WATCHED = ("igw_extproc", "igw_model")
MAX_BYTES = 2048
_WINDOWS = (1, 7, 64, 65_536)


def check(data: bytes) -> None:
    """Read a body by both, the script in windows of a size that hangs on the body."""
    if not data:
        return  # to both it is no body, which is another question
    window = _WINDOWS[sum(data) % len(_WINDOWS)]
    found = play(data, window=window).answer
    assert found == _expected(data), (found, window)


def _expected(data: bytes) -> str | tuple[int, bytes]:
    body = JsonBody()
    try:
        body.feed(data)
        return body.end().text
    except Refusal as refused:
        return refusal(refused.error)
