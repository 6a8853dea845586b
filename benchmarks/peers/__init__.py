"""The same tasks, server and model through other frameworks, a bare loop and ours: `python -m benchmarks.peers`."""
