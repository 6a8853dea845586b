"""What a turn of the loop costs beside bare httpx and five other frameworks: `python -m benchmarks.loop`."""
