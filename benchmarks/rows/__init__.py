"""The rows of a table, one constrained call each, by `fastslow map` and by others: `python -m benchmarks.rows`."""
