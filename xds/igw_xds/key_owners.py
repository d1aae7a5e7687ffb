"""Whose the gateways' own W&B keys are: the store's changes in, what W&B says of each key out, kept over restarts.

W&B is asked of a key at once when it is new, and again every few minutes. While it does not answer, what it said last
holds. Keys are in memory alone: the file knows them by their SHA-256.
"""

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import msgspec
import structlog
from igw_model.record import Kind, Record
from igw_ops.private import write_private
from igw_store.store import Change
from pydantic import SecretStr

from igw_xds.access import KeyOwner, NotChecked, NotValid, OwnedBy

log = structlog.get_logger(__name__)

Ask = Callable[[SecretStr], Awaitable[frozenset[str] | None]]
"""Gives the entities of a key's owner; None for a key that is not valid. Any exception is an outage."""

AT_A_TIME = 8
"""Keys that W&B is asked of at once."""
RETRY_SECONDS = 1.0
"""After the first failure; twice as long after each further one, and no longer than between two checks..."""
CLOSED_RETRY_SECONDS = 30.0
"""... nor than this for a key of which nothing is known: nobody may use its gateways until it is."""
SAVE_SECONDS = 0.1
"""Answers that come within this are written together."""


class Answer(msgspec.Struct, frozen=True):
    """What W&B said of a key (`entities` None: it is not valid), and when, in seconds since 1970."""

    entities: frozenset[str] | None
    at: float


_ANSWERS = msgspec.json.Decoder(dict[str, Answer])


class KeyOwners:
    """Keeps up with the gateways that have keys and with whose these are; call it from one event loop.

    `follow` before `run` has looked at anything; a gateway's owner is given by `follow` or, when it changes, by `take`.
    """

    def __init__(self, ask: Ask | None, file: Path | None, seconds: float) -> None:
        """Begin with what the file says; `seconds` is from one check of a key to the next. Without `ask` none is."""
        self._ask, self._file, self._seconds = ask, file, seconds
        self._answers = {} if file is None else _read(file)
        self._keys: dict[str, SecretStr] = {}
        """By digest."""
        self._digests: dict[str, str] = {}
        """By gateway."""
        self._gateways: dict[str, set[str]] = {}
        """By digest."""
        self._news: set[str] = set()
        """Digests with another answer than before."""
        self._met, self._changed, self._unsaved = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._turns = asyncio.Semaphore(AT_A_TIME)

    def follow(self, change: Change) -> Mapping[str, KeyOwner]:
        """Take note of keys that came, changed or went; give whose they are, of the gateways of the change."""
        if change.whole:
            for gateway_id in list(self._digests):
                self._forget(gateway_id)
        for (kind, gateway_id), record in change.records.items():
            if kind is Kind.GATEWAY:
                self._forget(gateway_id)
                self._meet(gateway_id, record)
        self._keys = {digest: key for digest, key in self._keys.items() if digest in self._gateways}
        self._met.set()
        named = (gateway_id for kind, gateway_id in change.records if kind is Kind.GATEWAY)
        return {gateway_id: self._owner(gateway_id) for gateway_id in named if gateway_id in self._digests}

    async def changed(self) -> None:
        """Wait until there is something to `take`."""
        await self._changed.wait()

    def take(self) -> Mapping[str, KeyOwner]:
        """Give whose the keys of gateways are now, where that changed, and forget that it did."""
        news, self._news = self._news, set()
        self._changed.clear()
        return {g: self._owner(g) for digest in news for g in self._gateways.get(digest, ())}

    async def run(self) -> None:
        """Ask W&B, for good."""
        saving = asyncio.create_task(self._save())
        watched: dict[str, asyncio.Task[None]] = {}
        try:
            while True:
                await self._met.wait()
                self._met.clear()
                for digest in watched.keys() - self._keys.keys():
                    watched.pop(digest).cancel()
                for digest in self._keys.keys() - watched.keys():
                    watched[digest] = asyncio.create_task(self._watch(digest, self._keys[digest]))
        finally:
            for task in (saving, *watched.values()):
                task.cancel()
            if self._unsaved.is_set():
                self._write()

    def _meet(self, gateway_id: str, record: Record | None) -> None:
        if record is None or record.deleting or record.api_key is None:
            return
        digest = hashlib.sha256(record.api_key.get_secret_value().encode()).hexdigest()
        self._digests[gateway_id], self._keys[digest] = digest, record.api_key
        self._gateways.setdefault(digest, set()).add(gateway_id)

    def _forget(self, gateway_id: str) -> None:
        digest = self._digests.pop(gateway_id, None)
        if digest is not None:
            self._gateways[digest].discard(gateway_id)
            if not self._gateways[digest]:
                del self._gateways[digest]

    def _owner(self, gateway_id: str) -> KeyOwner:
        answer = self._answers.get(self._digests[gateway_id])
        if answer is None:
            return NotChecked()
        return NotValid() if answer.entities is None else OwnedBy(answer.entities)

    async def _watch(self, digest: str, key: SecretStr) -> None:
        """Ask of one key, for good."""
        if self._ask is None:
            return
        await asyncio.sleep(self._due(digest))
        pause, told = RETRY_SECONDS, False
        while True:
            try:
                async with self._turns:
                    entities = await self._ask(key)
            except Exception as error:  # noqa: BLE001 - whatever it is, W&B did not say; its text may quote the key
                if not told:
                    log.warning(
                        "W&B does not say whose a gateway's apiKey is; what it said last, if anything, holds",
                        gateways=sorted(self._gateways.get(digest, ())),
                        error=type(error).__name__,
                    )
                told = True
                longest = self._seconds if digest in self._answers else CLOSED_RETRY_SECONDS
                pause = min(pause, longest, self._seconds)
                await asyncio.sleep(pause)
                pause *= 2
                continue
            pause, told = RETRY_SECONDS, False
            self._answered(digest, entities)
            await asyncio.sleep(self._seconds)

    def _due(self, digest: str) -> float:
        """Give the seconds until a key is to be asked of; a clock that was set back must not make that long."""
        answer = self._answers.get(digest)
        return 0 if answer is None else min(self._seconds, max(0.0, answer.at + self._seconds - time.time()))

    def _answered(self, digest: str, entities: frozenset[str] | None) -> None:
        before = self._answers.get(digest)
        self._answers[digest] = Answer(entities=entities, at=time.time())
        if before is not None and before.entities == entities:
            return
        if entities is None:
            log.warning(
                "W&B says that a gateway's apiKey is not valid: nobody may use the gateway",
                gateways=sorted(self._gateways.get(digest, ())),
            )
        self._news.add(digest)
        self._changed.set()
        self._unsaved.set()

    async def _save(self) -> None:
        while True:
            await self._unsaved.wait()
            await asyncio.sleep(SAVE_SECONDS)
            self._unsaved.clear()
            self._write()

    def _write(self) -> None:
        """Write down what was said of the keys that there are."""
        self._answers = {digest: found for digest, found in self._answers.items() if digest in self._keys}
        if self._file is None:
            return
        try:
            write_private(self._file, msgspec.json.encode(self._answers, order="deterministic").decode())
        except OSError as error:
            log.error("whose keys are cannot be kept", file=str(self._file), error=error.strerror)  # noqa: TRY400 - it says it all


def _read(file: Path) -> dict[str, Answer]:
    """Read what was kept; what cannot be read is asked for anew."""
    try:
        return _ANSWERS.decode(file.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, msgspec.MsgspecError) as error:
        log.warning(
            "whose keys are is asked anew: the file cannot be read",
            file=str(file),
            error=type(error).__name__,
        )
        return {}
