"""Where definitions live: files, and SQLite with the API's objects and those of the files."""
