"""The cast, its card format, and the prompt that is built from a character and a conversation.

Serving and training both call `prompt.build_prompt`, so what is trained on is what is served.
"""
