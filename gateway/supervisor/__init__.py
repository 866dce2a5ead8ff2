"""``callgate serve``: binds the sockets, starts the processes, and keeps them running."""

from gateway.supervisor.serve import serve

__all__ = ["serve"]
