"""Another process with the store in a file, for tests: `python -m tests.unit.store.process JOB FOLDER …`.

write FOLDER FIRST   numbered objects from FIRST, four at a time; prints each number that was answered; never ends
create FOLDER SELF   a line on standard input starts it; prints the names of those that it could create
put FOLDER           puts gateway n for each line n on standard input, and prints it when that was answered
open FOLDER          a line on standard input starts it; opens the store and closes it
"""

import asyncio
import sys
from collections.abc import Iterator
from itertools import count
from pathlib import Path

from igw_store.cipher import Cipher
from igw_store.sqlite import SqliteStore, open_store
from igw_store.store import TakenError, Writing

from tests.builders import deployment_id
from tests.unit.store.records import deployment_record, event, gateway_record, hosts, on, replica

NAMES = 60
AT_ONCE = 4


async def opened(folder: Path) -> SqliteStore:
    """Give the store of a folder."""
    return await open_store(folder / "store.db", Cipher.from_file(folder / "store.key"))


def write_all(store: Writing, number: int) -> None:
    """Write all that belongs to one number: to be found whole or not at all."""
    store.put(gateway_record(number, hosts(f"h{number}.example.com")))
    store.put(deployment_record(number, on(number)))
    store.put_replica(replica(deployment=number))
    store.append(event(number))


async def _write(store: SqliteStore, numbers: Iterator[int]) -> None:
    for number in numbers:
        await store.write(lambda w, n=number: write_all(w, n))  # type: ignore[misc]
        print(number, flush=True)  # noqa: T201


async def _create(store: SqliteStore, process: int) -> None:
    _line()
    for name in range(NAMES):
        record = gateway_record(process * NAMES + name, {"name": f"name-{name}"})
        try:
            await store.write(lambda w, r=record: w.put(r))  # type: ignore[misc]
        except TakenError:
            continue
        print(record.name, flush=True)  # noqa: T201


async def _put(store: SqliteStore) -> None:
    while line := await asyncio.to_thread(_line):
        number = int(line)
        await store.write(lambda w: w.put(gateway_record(number)))  # noqa: B023 - it is awaited in this round
        print(number, flush=True)  # noqa: T201


def _line() -> str:
    return sys.stdin.readline()


async def main(job: str, folder: Path, number: int) -> None:
    """Do a job."""
    if job == "open":
        _line()
    store = await opened(folder)
    match job:
        case "write":
            numbers = count(number)
            await asyncio.gather(*(_write(store, numbers) for _ in range(AT_ONCE)))
        case "create":
            print("ready", flush=True)  # noqa: T201
            await _create(store, number)
        case "put":
            await _put(store)
        case _:
            await store.read(lambda view: view.get(deployment_record().kind, deployment_id(1)))
    await store.aclose()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2]), int((sys.argv[3:] or ["0"])[0])))
