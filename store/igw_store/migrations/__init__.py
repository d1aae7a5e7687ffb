"""Alembic's environment: how one version's tables become the next one's."""
