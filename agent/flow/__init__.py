"""Jobs of many runs: `map` (the rows of a table) and `flow` (a Python function of remembered steps)."""
