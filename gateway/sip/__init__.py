"""RFC 3261 without I/O: bytes and the time come in, bytes and events go out.

Quiet room: nothing here opens a socket, reads a clock or draws a random number.
"""
