"""The bytes of a request in, the reply of a replica out, for each path that takes a POST."""

import itertools
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field

from igw_demo import answer, forms, judgement, question, responses
from igw_demo.answer import Answer, Api
from igw_demo.client import Headers
from igw_demo.question import Question
from igw_demo.sending import Stream, Whole
from igw_demo.usage import Document, Usage
from igw_demo.wishes import NONE, Wishes, wishes

DIMENSIONS = 8

Reply = tuple[str, Wishes, Whole | Stream]
"""The model that was asked, how the answer is wished, and the answer."""
Reader = Callable[[bytes, Headers], Awaitable[Reply]]


@dataclass(frozen=True, slots=True)
class Replies:
    """What a replica says: its name, the deployment that it is of for each model, and a clock."""

    name: str
    deployments: Mapping[str, str]
    clock: Callable[[], float]
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    @property
    def by_path(self) -> Mapping[str, Reader]:
        """Give what reads a request and makes its reply, by path; each raises Refused (400)."""
        return {
            "/v1/chat/completions": self.chat,
            "/v1/completions": self.completion,
            "/v1/responses": self.response,
            "/v1/embeddings": self.embeddings,
            "/v1/rerank": self.rerank,
            "/v1/moderations": self.moderations,
            "/v1/audio/transcriptions": self.transcription,
            "/v1/images/edits": self.edit,
        }

    async def chat(self, body: bytes, headers: Headers) -> Reply:
        """Answer a chat."""
        return self._speak(Api.CHAT, question.chat_question(body, headers))

    async def completion(self, body: bytes, headers: Headers) -> Reply:
        """Go on with a text."""
        return self._speak(Api.COMPLETION, question.completion_question(body, headers))

    async def response(self, body: bytes, headers: Headers) -> Reply:
        """Make a response."""
        asked = question.response_question(body, headers)
        given = self._given(asked, "resp")
        if asked.stream:
            return asked.model, asked.wishes, Stream(responses.response_events(given))
        return asked.model, asked.wishes, Whole(responses.response(given), given.usage)

    async def embeddings(self, body: bytes, headers: Headers) -> Reply:
        """Embed texts."""
        asked = question.texts_to_embed(body, headers, DIMENSIONS)
        told = Usage(answer.embedded(asked))
        return asked.model, asked.wishes, Whole(answer.embeddings(asked), told)

    async def rerank(self, body: bytes, headers: Headers) -> Reply:
        """Put documents in order."""
        asked = question.ranking(body, headers)
        document = judgement.ranked(asked, self._identity("rerank"))
        return asked.model, asked.wishes, Whole(document, judgement.ranking_usage(asked))

    async def moderations(self, body: bytes, headers: Headers) -> Reply:
        """Judge texts; that tells no usage."""
        asked = question.moderation(body, headers)
        return asked.model, asked.wishes, Whole(judgement.moderated(asked, self._identity("modr")))

    async def transcription(self, body: bytes, headers: Headers) -> Reply:
        """Write down what is said in a file."""
        asked = await forms.form(body, headers)
        return _formed(asked, headers, forms.transcription(asked))

    async def edit(self, body: bytes, headers: Headers) -> Reply:
        """Change a picture."""
        asked = await forms.form(body, headers)
        return _formed(asked, headers, forms.edit(asked, int(self.clock())))

    def _speak(self, api: Api, asked: Question) -> Reply:
        given = self._given(asked, "chatcmpl" if api is Api.CHAT else "cmpl")
        if not asked.stream:
            return asked.model, asked.wishes, Whole(answer.plain(api, given), given.usage)
        events = answer.events(
            api, given, include_usage=asked.include_usage, continuous=asked.continuous_usage
        )
        return asked.model, asked.wishes, Stream(events)

    def _given(self, asked: Question, kind: str) -> Answer:
        deployment = self.deployments.get(asked.model, self.name)
        return answer.answer(asked, self.name, deployment, self._identity(kind), int(self.clock()))

    def _identity(self, kind: str) -> str:
        return f"{kind}-{self.name}-{next(self._numbers)}"


def _formed(asked: forms.Form, headers: Headers, made: tuple[Document, Usage]) -> Reply:
    document, usage = made
    return asked.model, wishes(NONE, headers), Whole(document, usage)
