"""One keeper and its workers: processes, what they say to each other, and their operations port."""
