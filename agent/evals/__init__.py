"""Suites of tasks with known answers, run through the public API: what a policy is worth on your own server."""
