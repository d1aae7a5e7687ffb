"""The refusals that operations give, in one place so that each reads the same everywhere. Pure."""

from collections.abc import Sequence

from igw_model.document import FieldError
from igw_model.record import Kind, Record

from igw_api.failure import BadField, Code, Precondition, RefusedError, Resource

NAMES = {Kind.GATEWAY: "gateway", Kind.DEPLOYMENT: "deployment", Kind.CAPACITY_CLAIM: "capacity claim"}


MOST_ERRORS = 100
"""Fields that one refusal names: nobody reads more."""


def invalid(errors: Sequence[FieldError]) -> RefusedError:
    """Refuse for the fields that break rules; the message names them, and counts those beyond the bound."""
    told = errors[:MOST_ERRORS]
    more = [f"and {len(errors) - MOST_ERRORS} more"] if len(errors) > MOST_ERRORS else []
    bad = tuple(BadField(error.path, error.reason) for error in told)
    return RefusedError(Code.INVALID_ARGUMENT, "; ".join([*map(str, told), *more]), bad)


def absent(kind: str, name: str) -> RefusedError:
    """Refuse for an object that is not there, or is another organisation's."""
    message = f"{kind} {name} not found"
    return RefusedError(Code.NOT_FOUND, message, (Resource(kind, name, message),))


def taken(kind: Kind, field: str, value: str, owner: Record, organization_id: str) -> RefusedError:
    """Refuse for a name, id or host name that another object has; another organisation's object stays unnamed."""
    if owner.organization_id != organization_id:
        who = f"another {NAMES[kind]}"
    elif owner.origin:
        who = f"{NAMES[owner.kind]} {owner.id}, defined in {owner.origin}"
    else:
        who = f"{NAMES[owner.kind]} {owner.id}"
    return exists(kind, value, f"{field}: {value} already belongs to {who}")


def exists(kind: Kind, name: str, message: str) -> RefusedError:
    """Refuse for something that is there already."""
    return RefusedError(Code.ALREADY_EXISTS, message, (Resource(NAMES[kind], name, message),))


def unready(kind: str, subject: str, message: str) -> RefusedError:
    """Refuse until something else has changed; `kind` says what, in capitals."""
    return RefusedError(Code.FAILED_PRECONDITION, message, (Precondition(kind, subject, message),))


def read_only(record: Record) -> RefusedError:
    """Refuse to change what a file defines."""
    return unready(
        "READ_ONLY",
        f"{NAMES[record.kind]}/{record.id}",
        f"{NAMES[record.kind]} {record.name} is defined in {record.origin}: change it there",
    )
