"""Having a vLLM server: which model, its weights, its environment, its process."""
