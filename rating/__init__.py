"""What does a call cost: money, decks with the longest prefix, increments, tick prices and charges.

Quiet room: integers in, integers out; no clock, no files, no randomness.
"""
