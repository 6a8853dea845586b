"""The sandbox beside AutoGen's, llm-sandbox, smolagents' and SWE-ReX, in one run: `python -m benchmarks.sandbox`."""
