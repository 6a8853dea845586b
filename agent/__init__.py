"""The loop, and everything that knows a model."""
