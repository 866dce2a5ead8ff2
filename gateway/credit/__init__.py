"""The credit machine: reservations, ticks and charges as scripts inside Redis, and the only room that knows Redis.

What the numbers mean and in which order they move is MONEY.md; ``scripts/`` carries it out, ``store`` is a worker's
hot path to it, ``admin`` everybody else's way, ``embedded`` the server that comes along.
"""
