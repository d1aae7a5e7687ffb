"""What the shells' own tests put behind them: notes what it is asked, and answers or fails as it is told."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from igw_api.caller import Caller, Role
from igw_api.failure import Code, RefusedError
from igw_api.methods import Method

CALLER = Caller("uid-1", "org-1", Role.ADMIN)
EMPTY: dict[str, Any] = {"gateway": {"spec": {}}}


@dataclass(slots=True)
class Echo:
    """Stands for the operations: notes what it is asked, and answers or fails as it is told."""

    answer: dict[str, Any] = field(default_factory=lambda: EMPTY)
    failure: Exception | None = None
    seconds: float = 0
    asked: list[tuple[Method, Caller, Mapping[str, Any]]] = field(default_factory=list)
    tokens: list[Sequence[str]] = field(default_factory=list)

    def anew(self) -> "Echo":
        """Forget all."""
        self.__init__()  # type: ignore[misc]
        return self

    async def call(self, method: Method, caller: Caller, document: Mapping[str, Any]) -> dict[str, Any]:
        """Do as an operation would."""
        self.asked.append((method, caller, document))
        await asyncio.sleep(self.seconds)
        if self.failure is not None:
            raise self.failure
        return self.answer

    async def authenticate(self, values: Sequence[str]) -> Caller:
        """Take one token."""
        self.tokens.append(values)
        if list(values) != ["Bearer good"]:
            raise RefusedError(Code.UNAUTHENTICATED, "no valid token")
        return CALLER
