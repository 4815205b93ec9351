"""Engines: prompts of tokens in, tokens out. Text, queues and processes are not their business."""
