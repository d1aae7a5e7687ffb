"""Tokens: those of one answer, as each API tells them, and how many a model server told, by model.

What it told is what it sent whole in a usage object. Tests hold the gateway's own count to it.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

from igw_demo.client import ClientGone, HungUp, Refused

MAX_MODELS = 200
OTHER = "(other)"
"""Where requests are counted once `MAX_MODELS` models are known."""

Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Usage:
    """The tokens of one answer; those that were cached are among the prompt's."""

    prompt_tokens: int
    completion_tokens: int = 0
    cached_tokens: int = 0

    @property
    def total_tokens(self) -> int:
        """Give all of them."""
        return self.prompt_tokens + self.completion_tokens

    def document(self) -> Document:
        """Give what chat and text completions tell."""
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "total_tokens": self.total_tokens,
            "prompt_tokens_details": {"cached_tokens": self.cached_tokens},
        }

    def prompt_document(self) -> Document:
        """Give what embeddings and rankings tell, which make no tokens."""
        return {"prompt_tokens": self.prompt_tokens, "total_tokens": self.prompt_tokens}

    def input_document(self, **details: Any) -> Document:
        """Give what the newer APIs tell, with the details of each."""
        return {
            "input_tokens": self.prompt_tokens,
            "output_tokens": self.completion_tokens,
            "total_tokens": self.total_tokens,
            **details,
        }


@dataclass(slots=True)
class Telling:
    """One answer under way: how many events of its stream were sent, the words in them, and the last usage told."""

    events: int = 0
    words: int = 0
    usage: Usage | None = None


@dataclass(slots=True)
class _Count:
    """Of one model."""

    requests: int = 0
    refused: int = 0
    """Answered with an error."""
    dropped: int = 0
    """Whose connection was closed by the server."""
    cut: int = 0
    """Whose client left before the end."""
    untold_events: int = 0
    """Events sent in answers that did not tell their usage: nobody asked, or they were cut before."""
    untold_words: int = 0
    """Words of the answer in those events: what they would have counted as completion tokens."""
    told: int = 0
    """Whose usage was told."""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0

    def add(self, usage: Usage) -> None:
        self.told += 1
        self.prompt_tokens += usage.prompt_tokens
        self.completion_tokens += usage.completion_tokens
        self.cached_tokens += usage.cached_tokens

    def end(self, one: Telling) -> None:
        if one.usage is not None:
            self.add(one.usage)
        else:
            self.untold_events += one.events
            self.untold_words += one.words


@dataclass(slots=True)
class Told:
    """What was told since the last reset."""

    _models: dict[str, _Count] = field(default_factory=dict)

    @contextlib.contextmanager
    def telling(self, model: str) -> Iterator[Telling]:
        """Count a request for a model, and, when the context ends, what its answer told and how that ended."""
        count, one = self._of(model), Telling()
        count.requests += 1
        try:
            yield one
        except Refused:
            count.refused += 1
            raise
        except HungUp:
            count.dropped += 1
            raise
        except ClientGone:
            count.cut += 1
            raise
        finally:
            count.end(one)

    def reset(self) -> None:
        """Forget everything; an answer under way is counted nowhere."""
        self._models.clear()

    def document(self) -> Document:
        """Give the counts by model."""
        return {model: asdict(count) for model, count in self._models.items()}

    def _of(self, model: str) -> _Count:
        known = model in self._models or len(self._models) < MAX_MODELS
        return self._models.setdefault(model if known else OTHER, _Count())
