"""Where definitions live. For now: files."""
