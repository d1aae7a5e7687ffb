"""What is where in a state folder: the store, the key of its secrets, the local admin's token. Names only."""

from pathlib import Path


def database(state_dir: Path) -> Path:
    """Give the store's file."""
    return state_dir / "gateway.db"


def key_file(state_dir: Path) -> Path:
    """Give the file of the key that secrets in the store are encrypted with, mode 0600."""
    return state_dir / "store.key"


def admin_token(state_dir: Path) -> Path:
    """Give the file of the local admin's token, mode 0600."""
    return state_dir / "admin-token"


def key_owners(state_dir: Path) -> Path:
    """Give the file of what W&B said of the gateways' own keys, mode 0600."""
    return state_dir / "key-owners.json"
