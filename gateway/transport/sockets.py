"""Where the gate listens: opening a socket, and saying plainly why it cannot be opened.

Sockets are opened once, by the supervisor, and inherited by the workers (SIP.md 2): a killed worker then causes no
ICMP and no refused connection, and what was sent to it waits in the socket for the next holder of its slot.
"""

import errno
import socket
from typing import Final

from gateway.config.values import Listen

RECEIVE_BUFFER_BYTES: Final = 4 * 1024 * 1024
"""Asked of the kernel for each UDP socket: 4 MB hold about 2,000 INVITEs with their bookkeeping, the second of traffic
that a worker restarted after a crash finds waiting.  The kernel may give less (net.core.rmem_max)."""

BACKLOG: Final = 1024
"""Stream connections that may wait to be accepted: peers that all reconnect after a restart come within a second."""

IP_RECVERR: Final = 11
IPV6_RECVERR: Final = 25
"""Linux: ICMP errors are queued with the address they are about (ip(7)); Python has no name for them."""


class ListenError(Exception):
    """A socket could not be opened; the text says which one, why, and what to do."""


def open_socket(address: Listen) -> socket.socket:
    """Open, bind and (for a stream) listen on one address; port 0 lets the kernel choose.  The socket does not block.

    Raises :class:`ListenError`.
    """
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    kind = socket.SOCK_DGRAM if address.transport == "udp" else socket.SOCK_STREAM
    sock = socket.socket(family, kind)
    try:
        _bind(sock, address)
    except OSError as error:
        sock.close()
        raise ListenError(_why(address, error)) from error
    return sock


def _bind(sock: socket.socket, address: Listen) -> None:
    sock.setblocking(False)
    if sock.family == socket.AF_INET6:
        # each family has a socket of its own, so that peers are never seen as ::ffff:a.b.c.d
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    if sock.type == socket.SOCK_STREAM:
        # the port of a gate stopped a moment ago is still in TIME_WAIT; a listener that lives is refused all the same
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((address.host, address.port))
        sock.listen(BACKLOG)
        return
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
    sock.bind((address.host, address.port))


def _why(address: Listen, error: OSError) -> str:
    where = f"cannot listen on {address}"
    match error.errno:
        case errno.EADDRINUSE:
            return (
                f"{where}: another program holds this port; stop it (`ss -lnup sport = :{address.port}` or "
                f"`ss -lntp sport = :{address.port}` names it) or change the address in callgate.toml"
            )
        case errno.EACCES | errno.EPERM:
            return f"{where}: not permitted; use a port above 1023 or give the process CAP_NET_BIND_SERVICE"
        case errno.EADDRNOTAVAIL:
            return f"{where}: this machine has no such address; `ip address` shows those it has"
        case _:
            return f"{where}: {error.strerror or error}"


def queue_icmp_errors(sock: socket.socket) -> bool:
    """Ask the kernel to tell of ICMP errors to our datagrams; False where it cannot (not Linux)."""
    try:
        if sock.family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, IPV6_RECVERR, 1)
        else:
            sock.setsockopt(socket.IPPROTO_IP, IP_RECVERR, 1)
    except OSError:
        return False
    return True
