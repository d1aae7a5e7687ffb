"""A child's line of output as one readable line: JSON logs become `time  process  event key=value`."""

import json
from typing import Any

_OWN = ("timestamp", "level", "event", "service", "logger")
_LEVELS = {"warning": "yellow", "error": "red", "critical": "red"}


def readable(line: str) -> tuple[str, str | None]:
    """Give the text of a line and the colour it deserves."""
    try:
        fields = json.loads(line)
    except ValueError:
        return line, None
    match fields:
        case {"event": str(event)}:
            return _event(event, fields), _LEVELS.get(str(fields.get("level")))
        case {"method": str(), "status": int(status)}:
            return _access(fields), "red" if status >= 500 else None
        case _:
            return line, None


def _event(event: str, fields: dict[str, Any]) -> str:
    details = " ".join(f"{key}={_value(value)}" for key, value in fields.items() if key not in _OWN)
    return f"{event}  {details}" if details else event


def _access(fields: dict[str, Any]) -> str:
    url = f"{fields.get('host')}{fields.get('path')}"
    line = f"{fields['method']} {url} {fields['status']} {fields.get('duration_ms')} ms"
    extra = {key: fields.get(key) for key in ("replica", "principal", "details")}
    shown = " ".join(f"{key}={value}" for key, value in extra.items() if value and value != "via_upstream")
    return f"{line}  {shown}" if shown else line


def _value(value: Any) -> str:
    return value if isinstance(value, str) and value.isprintable() else json.dumps(value, ensure_ascii=False)
