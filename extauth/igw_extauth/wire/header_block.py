"""What a check's header block says, and the header blocks of our replies. Pure. Source: RFC 7541; RFC 9113, 4.3."""

from igw_model.headers import OPENAI_PROJECT, POLICY
from igw_ops.http2 import header_blocks

from igw_extauth.answer import Answer
from igw_extauth.attempt import Attempt, bearer_token, project_text
from igw_extauth.wire.http_request import Policies

_POLICY = POLICY.encode()
_PROJECT = OPENAI_PROJECT.encode()


class HeaderBlocks(header_blocks.HeaderBlocks):
    """The header blocks of one caller's checks."""

    def __init__(self, policies: Policies) -> None:
        super().__init__()
        self._policies = policies

    def question(self, block: bytes) -> tuple[Attempt, bool]:
        """Give what a request attempts, and whether its reply has no body, being one to HEAD.

        Three headers say all of the attempt; method and path, and whether the request is well formed, say nothing.
        """
        headers = self.headers(block)
        authorization = [value.decode("latin-1") for name, value in headers if name == b"authorization"]
        policy = self._policies.policy([value for name, value in headers if name == _POLICY])
        project = project_text([value.decode("latin-1") for name, value in headers if name == _PROJECT])
        return Attempt(policy, bearer_token(authorization), project), (b":method", b"HEAD") in headers


def reply_block(answer: Answer) -> bytes:
    """Give the header block of a reply: no table is used or filled, so it is the same for all callers."""
    headers = [
        (b":status", b"%d" % answer.status),
        *answer.lines,
        (b"content-length", b"%d" % len(answer.body)),
    ]
    return b"".join(header_blocks.literal(name, value) for name, value in headers)
