"""A package, so that what its fixtures started ends with the last of its tests."""
