"""The tasks themselves, a module a suite."""
