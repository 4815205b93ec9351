"""Dialogues into a training set."""
