"""Collects what requests used, keeps it, and reports it."""
