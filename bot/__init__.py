"""The bot room: hears messages, decides whether to answer, and shows the answer as the character.

`turn.py` knows neither Discord nor a terminal; both drive the same one.
"""
