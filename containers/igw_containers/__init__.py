"""Containers of a Docker engine as replicas in the store: container, presence, replicas (pure) → engine, following."""
