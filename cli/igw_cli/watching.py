"""`igw get --watch`: the present, then each change, until Ctrl-C. What reads and what prints come in as functions.

On a terminal one table is drawn anew in its place; a program gets a row, a JSON line or a YAML document for each
change. A server that is away for a while is said, and waited for.
"""

import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from rich.live import Live
from rich.table import Table

from igw_cli.client import Exit, FailedError
from igw_cli.objects import Kind, Object
from igw_cli.session import progress
from igw_cli.show import Output, document_of, plain, results, write_yaml

WATCH_SECONDS = 1.0

Read = Callable[[], list[Object]]
Tabulate = Callable[[Sequence[Object]], Table]


@dataclass(slots=True)
class Watch:
    """One watch, and what it has shown so far."""

    kind: Kind
    read: Read
    table: Tabulate
    output: Output
    seen: dict[str, Object] | None = None
    widths: list[int] = field(default_factory=list)
    away: bool = False

    def run(self) -> None:
        """Go on until interrupted. Raises FailedError for what waiting does not mend."""
        console = results()
        if self.output is Output.TABLE and console.is_terminal:
            with Live(console=console, auto_refresh=False) as live:
                while True:
                    if (things := self._present()) is not None:
                        live.update(self._cropped(things), refresh=True)
                    time.sleep(WATCH_SECONDS)
        while True:
            if (things := self._present()) is not None:
                self.show(things)
            time.sleep(WATCH_SECONDS)

    def show(self, things: Sequence[Object]) -> None:
        """Print what is new since the last time."""
        first, seen = self.seen is None, self.seen or {}
        present = {str(thing["spec"]["id"]): thing for thing in things}
        changed = [thing for key, thing in present.items() if seen.get(key) != thing]
        changed += [_gone(thing) for key, thing in seen.items() if key not in present]
        self.seen = present
        if changed or first:
            self._put(changed, first=first)
            sys.stdout.flush()

    def _present(self) -> list[Object] | None:
        """Read; None while the server is away."""
        try:
            things = self.read()
        except FailedError as error:
            if error.status is Exit.NOT_FOUND:
                return []  # it may come
            if error.status is not Exit.UNAVAILABLE:
                raise
            if not self.away:
                progress().print(plain(f"{error}; waiting for it"), markup=False)
            self.away = True
            return None
        self.away = False
        return things

    def _cropped(self, things: Sequence[Object]) -> Table:
        """Give a table that never breaks a line: drawing in place needs to know its height."""
        table = self.table(things)
        for column in table.columns:
            column.no_wrap, column.overflow = True, "ellipsis"
        return table

    def _put(self, things: Sequence[Object], *, first: bool) -> None:
        match self.output:
            case Output.TABLE:
                results(wide=True).print(self._aligned(self.table(things), first=first))
            case Output.JSON:
                for thing in things:
                    sys.stdout.write(json.dumps(document_of(self.kind, thing), ensure_ascii=False) + "\n")
            case Output.YAML:
                for thing in things:
                    sys.stdout.write("---\n")
                    write_yaml([document_of(self.kind, thing)])

    def _aligned(self, table: Table, *, first: bool) -> Table:
        """Give a table whose columns are as wide as those that were printed before it."""
        table.show_header = first
        before = self.widths or [0] * len(table.columns)
        self.widths = []
        for column, least in zip(table.columns, before, strict=True):
            texts = [str(cell) for cell in column.cells] + [str(column.header)]
            column.min_width = max(least, *map(len, texts))
            self.widths.append(column.min_width)
        return table


def _gone(thing: Object) -> Object:
    return {**thing, "status": {**thing.get("status", {}), "status": "GONE"}}
