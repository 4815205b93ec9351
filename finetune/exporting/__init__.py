"""Adapters into other programs' formats."""
