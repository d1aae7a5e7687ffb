"""Events: the audit records of an organisation's accepted writes, a thousand at most, oldest first."""

from typing import Any

from igw_model.record import Event
from igw_store.store import Reading

from igw_api.document import Document, unknown
from igw_api.lifecycle import Call, updated_after
from igw_api.moments import moment_text
from igw_api.refusal import invalid

MOST = 1000


def list_events(view: Reading, call: Call, document: Document) -> dict[str, Any]:
    """Answer ListEvents."""
    errors = unknown(document, ("updatedAfter",))
    after = updated_after(document, errors)
    if errors:
        raise invalid(errors)
    events = view.events(call.caller.organization_id, updated_after=after, limit=MOST)
    return {"items": [_shown(event) for event in events]}


def _shown(event: Event) -> dict[str, Any]:
    document = {
        "number": event.number,
        "time": moment_text(event.at),
        "principal": event.principal,
        "action": event.action.value,
        "kind": event.kind,
        "id": event.id,
        "name": event.name,
    }
    specs = {"before": event.before, "after": event.after}
    return document | {key: dict(spec) for key, spec in specs.items() if spec is not None}
