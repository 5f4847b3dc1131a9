"""One module a version, named by it."""
