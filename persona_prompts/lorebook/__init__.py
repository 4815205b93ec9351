"""Lorebooks of cards and channels: knowledge that enters the prompt when it is spoken of."""
