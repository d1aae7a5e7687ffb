"""Files that only their owner may read: written whole, never through a link, never readable on the way."""

import os
import secrets
from pathlib import Path


def write_private(path: Path, text: str) -> None:
    """Put a file with mode 0600 in place at once; what was there, a link too, is replaced. Raises OSError."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        draft.replace(path)
    except OSError:
        draft.unlink(missing_ok=True)
        raise
