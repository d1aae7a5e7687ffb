"""`igw store backup` and `igw store restore`: the state folder's store to one file, while it is used, and back.

The key of the store's secrets is not in that file, so that a backup is no secret of its own: `--key-to` copies it.
"""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from igw_cli.client import Exit, FailedError
from igw_cli.session import told
from igw_cli.show import write_json
from igw_cli.state import admin_token, database, key_file

store = typer.Typer(no_args_is_help=True, help="Back up the store of a control plane, and put a backup back.")

StateDir = Annotated[
    Path, typer.Option(envvar="IGW_STATE_DIR", help="Folder of the store, as `igw xds` and `igw up` have it.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print what was done as JSON.")]
HERE = Path(".igw")


@store.command()
def backup(
    file: Annotated[Path, typer.Argument(help="The backup to write, mode 0600.")],
    state_dir: StateDir = HERE,
    key_to: Annotated[
        Path | None,
        typer.Option(
            help="Also copy the key of the secrets to this file. Who has both files has the W&B keys: keep them apart."
        ),
    ] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Overwrite files that are there.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write all that the store holds at this moment to one file; a control plane may run and write meanwhile."""
    from igw_store import backup as copies  # noqa: PLC0415 - the help needs no database

    _refuse_own_files(state_dir, file, key_to)
    with _told():
        if key_to is not None:
            with copies.draft_of(key_file(state_dir), key_to) as draft:
                copies.install(draft, key_to, replace=replace)
        contents = copies.back_up(database(state_dir), file, replace=replace)
    if as_json:
        write_json({"file": str(file), **asdict(contents), "keyFile": _text(key_to)})
        return
    typer.echo(f"backed up {contents.objects} object(s), schema {contents.schema}, to {file}")
    if key_to is not None:
        typer.echo(f"and the key of its secrets to {key_to}: keep it apart from the backup")
    elif contents.secrets:
        key = key_file(state_dir)
        typer.echo(f"{contents.secrets} W&B key(s) in it cannot be read without {key}, which is not in it")


@store.command()
def restore(
    file: Annotated[Path, typer.Argument(help="A file that `igw store backup` wrote.")],
    state_dir: StateDir = HERE,
    key_from: Annotated[
        Path | None,
        typer.Option(
            help="Take the key of the secrets from this file. Default: the key in the state folder."
        ),
    ] = None,
    drop_keys: Annotated[
        bool, typer.Option("--drop-keys", help="Restore without the W&B keys: their encryption key is lost.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Put a backup in the store's place; refused while a control plane runs. What was there is kept in a folder."""
    from igw_store import backup as copies  # noqa: PLC0415 - the help needs no database

    if drop_keys and key_from is not None:
        raise typer.BadParameter("--key-from and --drop-keys exclude each other")
    place = database(state_dir)
    with _told():
        contents = copies.inspect(file)
        if contents.secrets and not drop_keys:
            _check_key(file, key_from or key_file(state_dir), contents.secrets)
        os.makedirs(state_dir, mode=0o700, exist_ok=True)  # noqa: PTH103 - the mode is for all that is made
        with copies.alone(place), contextlib.ExitStack() as stack:
            draft = stack.enter_context(copies.draft_of(file, place))
            if drop_keys:
                copies.drop_secrets(draft)
            key = (
                None
                if key_from is None
                else stack.enter_context(copies.draft_of(key_from, key_file(state_dir)))
            )
            former = copies.set_aside(place, key_file(state_dir), datetime.now(UTC))
            if key is not None:
                copies.install(key, key_file(state_dir), replace=True)
            copies.install(draft, place, replace=True)
    kept = 0 if drop_keys else contents.secrets
    _show(state_dir, {**asdict(contents), "secrets": kept, "former": _text(former)}, as_json=as_json)


def _refuse_own_files(state_dir: Path, file: Path, key_to: Path | None) -> None:
    """Check that a backup takes the place of nothing that it is of. Raises BadParameter."""
    from igw_store.backup import own_files  # noqa: PLC0415 - see above

    place = database(state_dir)
    own = {*own_files(place), *own_files(place.resolve()), key_file(state_dir), admin_token(state_dir)}
    if not {_spot(file), *(() if key_to is None else (_spot(key_to),))}.isdisjoint(map(_spot, own)):
        raise typer.BadParameter(f"FILE and --key-to cannot be files of the store in {state_dir} itself")
    if key_to is not None and _spot(file) == _spot(key_to):
        raise typer.BadParameter("FILE and --key-to are the same file")


def _spot(path: Path) -> Path:
    """Give where a file is put: a link in its place would be replaced, one on the way is followed."""
    return path.parent.resolve() / path.name


def _check_key(file: Path, key: Path, number: int) -> None:
    """Check that a key opens the secrets of a backup. Raises FailedError with what to do."""
    from igw_store.backup import check_key  # noqa: PLC0415 - see above
    from igw_store.cipher import Cipher, CipherError  # noqa: PLC0415

    remedy = "give the key of the store that was backed up: --key-from FILE; if it is lost: --drop-keys"
    if not key.exists():
        raise FailedError(f"{number} W&B key(s) in {file} are encrypted and there is no {key}: {remedy}")
    try:
        check_key(file, Cipher.from_file(key))
    except CipherError as error:
        raise FailedError(f"{error}; {remedy}") from error


def _show(state_dir: Path, done: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        write_json({"stateDir": str(state_dir), **done})
        return
    typer.echo(
        f"restored {done['objects']} object(s), schema {done['schema']}, with {done['secrets']} W&B key(s)"
    )
    if done["former"] is not None:
        typer.echo(f"what was there is in {done['former']}")


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """End the program with what went wrong: 5 for a store in use, else 1."""
    from igw_store.backup import BackupError, InUseError  # noqa: PLC0415 - see above

    with told():
        try:
            yield
        except InUseError as error:
            raise FailedError(str(error), Exit.CONFLICT) from error
        except (BackupError, OSError) as error:
            raise FailedError(str(error)) from error
