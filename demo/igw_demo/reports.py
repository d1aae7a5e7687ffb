"""Where the demo's W&B side is told of usage: each report counted once, and one whose content changed refused.

In: the key and the body of ``POST /reports`` (docs/usage.md). Out: a status, and totals for those who check the sender.
What was taken can be kept in a file, a line for each report, so that this end may be killed, too.
"""

import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec


class ReportedRecord(msgspec.Struct, frozen=True, rename="camel"):
    """What is read of one record; the rest is not looked at."""

    id: str
    gateway_id: str
    project: str | None = None
    model: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cached_tokens: int | None = None
    total_tokens: int = 0
    status: int = 0
    partial: bool = False
    streamed: bool = False


class _Body(msgspec.Struct, frozen=True):
    batch: str
    records: list[ReportedRecord]


_Names = tuple[str, str, str]


@dataclass(slots=True)
class Reports:
    """What was taken so far."""

    file: Path | None = None
    repeated: int = 0
    """Reports that came again as they were."""
    refused: int = 0
    repeated_records: int = 0
    """Records that stood in another report already: there should be none."""
    _digests: dict[str, str] = field(default_factory=dict)
    _ids: set[str] = field(default_factory=set)
    _totals: dict[_Names, Counter[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Read the file; a last line that was cut was never answered, and is cut off."""
        if self.file is None or not self.file.exists():
            return
        content = self.file.read_bytes()
        whole = content.rfind(b"\n") + 1
        for line in content[:whole].splitlines():
            key, digest, records = json.loads(line)
            self._count(key, digest, msgspec.convert(records, list[ReportedRecord]))
        os.truncate(self.file, whole)  # never written anew: a kill in between would lose all

    def take(self, key: str, body: bytes) -> tuple[int, dict[str, Any]]:
        """Give the status and the document that answer a report."""
        digest = hashlib.sha256(body).hexdigest()
        if key and (known := self._digests.get(key)) is not None:
            return self._again(same=known == digest)
        try:
            read = msgspec.json.decode(body, type=_Body)
        except msgspec.DecodeError as error:
            return self._refuse(400, str(error))
        if not key or key != read.batch:
            return self._refuse(400, "the header idempotency-key must be there, and name the batch")
        self._keep(key, digest, read.records)
        self._count(key, digest, read.records)
        return 200, {"records": len(read.records)}

    def document(self) -> dict[str, Any]:
        """Give the JSON object of ``GET /demo/reports``."""
        totals = [
            {"gatewayId": gateway, "project": project or None, "model": model or None, **counts}
            for (gateway, project, model), counts in sorted(self._totals.items())
        ]
        return {
            "reports": len(self._digests),
            "repeated": self.repeated,
            "refused": self.refused,
            "records": len(self._ids),
            "repeatedRecords": self.repeated_records,
            "totals": totals,
        }

    def _again(self, *, same: bool) -> tuple[int, dict[str, Any]]:
        if not same:
            return self._refuse(409, "a report of this key had other content")
        self.repeated += 1
        return 200, {"repeated": True}

    def _refuse(self, status: int, message: str) -> tuple[int, dict[str, Any]]:
        self.refused += 1
        return status, {"message": message}

    def _keep(self, key: str, digest: str, records: Iterable[ReportedRecord]) -> None:
        if self.file is not None:
            line = json.dumps([key, digest, [msgspec.to_builtins(record) for record in records]])
            with self.file.open("a", encoding="utf-8") as file:
                file.write(f"{line}\n")

    def _count(self, key: str, digest: str, records: Iterable[ReportedRecord]) -> None:
        self._digests[key] = digest
        for record in records:
            self.repeated_records += record.id in self._ids
            self._ids.add(record.id)
            names = (record.gateway_id, record.project or "", record.model or "")
            self._totals.setdefault(names, Counter()).update(_counts(record))


def _counts(record: ReportedRecord) -> dict[str, int]:
    return {
        "requests": 1,
        "errors": int(record.status >= 400 or record.status == 0),
        "streamed": int(record.streamed),
        "partial": int(record.partial),
        "promptTokens": record.prompt_tokens or 0,
        "completionTokens": record.completion_tokens or 0,
        "cachedTokens": record.cached_tokens or 0,
        "totalTokens": record.total_tokens,
    }
