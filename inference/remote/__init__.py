"""The remote engine: any OpenAI-compatible server as a backend, vLLM above all."""
