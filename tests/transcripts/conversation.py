"""Plays a transcript: what the control plane publishes and Envoy says, in; the same with our answers, out.

publish: clusters a:1; routes r:1>a     a snapshot; `a:1` is a resource and a number for its content, `>a` what it needs
envoy: endpoints +a -b known c:1        an incremental request (`*` is a name like others)
envoy: endpoints a b at a:1             a state-of-the-world request from a client that has a:1
envoy: endpoints a b nonce #1           the same, about response 1 (else: about the last one it got)
envoy: ack #1       envoy: nack #1 why
reconnect                               a new stream to a control plane that has the same snapshot
    -> clusters #1: a:1, without b      our response 1
    = synced                            what `synced` and `rejections` say, when it changed
"""

import re
from collections.abc import Iterator
from typing import Any

from igw_xds.snapshot import Snapshot, snapshot

from tests.unit.xds_stream.builders import (
    NODE,
    SHORT,
    DeltaStream,
    SotwStream,
    ack,
    content,
    delta,
    nack,
    sent,
    sotw,
    world,
)

TYPE_OF = {short: type_url for type_url, short in SHORT.items()}


def play(text: str) -> str:
    """Give the transcript with its answers made anew."""
    steps = [line for line in text.splitlines() if not line.startswith("    ")]
    transport = next(line for line in steps if line in {"delta", "sotw"})
    conversation = Conversation(transport)
    return "".join(f"{line}\n" for step in steps for line in (step, *conversation.step(step)))


class Conversation:
    """One Envoy and its streams, one after the other."""

    def __init__(self, transport: str) -> None:
        self.transport = transport
        self.newest: Snapshot | None = None
        self.state = ""
        self._connect()

    def _connect(self) -> None:
        self.stream: Any = DeltaStream() if self.transport == "delta" else SotwStream()
        self.responses: dict[str, Any] = {}
        self.names: dict[str, list[str]] = {}
        self.nonces: dict[str, str] = {}
        self.versions: dict[str, str] = {}

    def step(self, line: str) -> list[str]:
        """Play one line and give the lines that follow from it."""
        match line.partition(":"):
            case ("publish", ":", groups):
                self.newest = _world(groups)
                return list(self._heard(self.stream.publish(self.newest)))
            case ("envoy", ":", words):
                return list(self._heard(self.stream.receive(self._request(words.split()))))
            case ("reconnect", "", ""):
                self._connect()
                return list(self._heard(self.stream.publish(self.newest)))
            case _:
                return []

    def _heard(self, responses: list[Any]) -> Iterator[str]:
        for response, (kind, names, removed) in zip(responses, sent(responses), strict=True):
            self.responses[response.nonce] = response
            self.nonces[response.type_url] = response.nonce
            without = f" without {' '.join(removed)}" if removed else ""
            yield f"    -> {kind} #{response.nonce}: {' '.join(names) or 'nothing'}{without}"
        if (state := self._state()) != self.state:
            self.state = state
            yield f"    = {state}"

    def _state(self) -> str:
        refused = [f"{SHORT[t]} refused: {text}" for t, text in self.stream.rejections.items()]
        return "; ".join(refused) or ("synced" if self.stream.synced else "not synced")

    def _request(self, words: list[str]) -> Any:
        match words:
            case ["ack", nonce]:
                response = self.responses[nonce[1:]]
                self.versions[response.type_url] = getattr(response, "version_info", "")
                return ack(response, *self.names.get(response.type_url, ()))
            case ["nack", nonce, *why]:
                response = self.responses[nonce[1:]]
                kind, error = response.type_url, " ".join(why)
                version = self.versions.get(kind, "")
                return nack(response, *self.names.get(kind, ()), error=error, version=version)
            case [kind, *rest] if self.transport == "delta":
                return self._delta(TYPE_OF[kind], rest)
            case [kind, *rest]:
                return self._sotw(TYPE_OF[kind], rest)
            case _:
                raise ValueError(words)

    def _delta(self, type_url: str, words: list[str]) -> Any:
        names, _, known = " ".join(words).partition("known")
        return delta(
            type_url,
            node=NODE if self.stream.node is None else None,
            subscribe=re.findall(r"\+(\S+)", names),
            unsubscribe=re.findall(r"-(\S+)", names),
            known={
                name: _content(name, number).version for name, number in re.findall(r"(\S+):(\d+)", known)
            },
        )

    def _sotw(self, type_url: str, words: list[str]) -> Any:
        rest, _, nonce = " ".join(words).partition("nonce #")
        rest, _, at = rest.partition("at ")
        self.names[type_url] = rest.split()
        held = [_content(name, number) for name, number in re.findall(r"(\S+):(\d+)", at)]
        version = (
            snapshot({type_url: held}).type_version(type_url) if held else self.versions.get(type_url, "")
        )
        return sotw(
            type_url,
            *rest.split(),
            node=NODE if self.stream.node is None else None,
            version=version,
            nonce=nonce.strip() or self.nonces.get(type_url, ""),
        )


def _world(text: str) -> Snapshot:
    groups: dict[str, dict[str, int]] = {}
    needs: dict[str, str] = {}
    for group in filter(None, (part.strip() for part in text.split(";"))):
        kind, *items = group.split()
        found = [re.fullmatch(r"(\S+):(\d+)(?:>(\S+))?", item) for item in items]
        named = [match.groups() for match in found if match]
        groups[kind] = {name: int(number) for name, number, _ in named}
        needs |= {name: clusters.replace(",", " ") for name, _, clusters in named if clusters}
    return world(**groups, needs=needs)


def _content(name: str, number: str) -> Any:
    return content(name, int(number))
