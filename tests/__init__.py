"""The tests: a package, as some libraries install one of that name."""
