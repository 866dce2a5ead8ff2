"""Framing of SIP on a stream (RFC 3261 18.3, 7.5; RFC 5626 4.4.1): bytes in any pieces come in, whole messages go out.

A message ends where its Content-Length says.  Where that cannot be known, the stream cannot be read any further: the
bytes so far may be answered with 400, and the connection must be closed.
"""

import re
from typing import Final

from gateway.sip.errors import BadMessage

MESSAGE_LIMIT: Final = 65_535
"""Octets of one message; the same as a datagram can hold, so that no transport takes what another refuses."""

KEEPALIVE_LIMIT: Final = 1024
"""CRLFs between two messages, in octets; a keep-alive is four (RFC 5626 3.5.1), more is a peer that sends noise."""

PING_SIZE: Final = 4
"""Octets of a double CRLF."""

_LENGTH = re.compile(rb"\r\n(?:content-length|l)[ \t]*+:(?:[ \t]|\r\n[ \t])*+([^\r\n]*)", re.IGNORECASE)


class BadFrame(BadMessage):
    """The stream cannot be read on: close the connection once what is answered has been sent.

    ``complete`` are the messages before the fault.  ``data`` is the faulty one as far as it came: handed to
    Endpoint.receive it gets its 400; empty where nothing can be answered.
    """

    def __init__(self, text: str, complete: list[bytes], data: bytes = b"") -> None:
        super().__init__(text)
        self.complete = complete
        self.data = data


class StreamFramer:
    """Cuts one connection's byte stream into messages."""

    __slots__ = ("_buffer", "_head_end", "_limit", "_line_ends", "_need", "_pings", "_scanned")

    def __init__(self, limit: int = MESSAGE_LIMIT) -> None:
        self._buffer = bytearray()
        self._limit = limit
        self._head_end = 0
        """Where the body of the message at hand begins, 0 while its head is incomplete."""
        self._need = 0
        """Octets of the message at hand, once its head is complete."""
        self._scanned = 0
        """Where to look on for the end of a head, so that a slow sender costs no more than a fast one."""
        self._line_ends = 0
        """Octets of line ends since the last message or ping, in whatever pieces they came."""
        self._pings = 0

    def take_pings(self) -> int:
        """How often the peer has asked for a sign of life since the last call (a double CRLF, RFC 5626 3.5.1)."""
        pings, self._pings = self._pings, 0
        return pings

    @property
    def pending(self) -> int:
        """Octets of an incomplete message; the transport closes a connection that stays so (RFC 4475 3.1.2.2)."""
        return len(self._buffer)

    def feed(self, data: bytes) -> list[bytes]:
        """Take the next bytes; return the messages that they complete, without the CRLFs between them.

        Raises BadFrame where the stream cannot be read on; after that the framer is of no more use.
        """
        buffer = self._buffer
        buffer += data
        complete: list[bytes] = []
        while buffer:
            if not self._head_end and not self._find_head(complete):
                break
            if len(buffer) < self._need:
                break
            complete.append(bytes(buffer[: self._need]))
            del buffer[: self._need]
            self._head_end = self._scanned = 0
        return complete

    def _find_head(self, complete: list[bytes]) -> bool:
        """Look for the end of the head; True once it has come and Content-Length is known."""
        buffer = self._buffer
        if not self._scanned:
            self._skip_keepalive(complete)
        end = buffer.find(b"\r\n\r\n", self._scanned)
        if end < 0:
            self._scanned = max(0, len(buffer) - 3)
            if len(buffer) > self._limit:
                raise BadFrame(f"no message head ends within {self._limit} octets", complete)
            return False
        self._head_end = end + 4
        self._need = self._head_end + self._body_size(complete)
        if self._need > self._limit:
            raise BadFrame(f"a message of {self._need} octets is larger than {self._limit}", complete, self._head())
        return True

    def _skip_keepalive(self, complete: list[bytes]) -> None:
        buffer = self._buffer
        kept = buffer.lstrip(b"\r\n")
        skipped = len(buffer) - len(kept)
        if skipped > KEEPALIVE_LIMIT:
            raise BadFrame(f"{skipped} octets of line ends are no keep-alive", complete)
        pings, left = divmod(self._line_ends + skipped, PING_SIZE)
        self._pings += pings
        self._line_ends = 0 if kept else left
        del buffer[:skipped]

    def _body_size(self, complete: list[bytes]) -> int:
        """Content-Length, which a stream must have (18.3): once, or several times the same."""
        found = set(_LENGTH.findall(self._buffer, 0, self._head_end))
        if len(found) != 1:
            what = "no Content-Length" if not found else "more than one Content-Length"
            raise BadFrame(f"a message on a stream with {what} has no end", complete, self._head())
        text = found.pop().strip(b" \t")
        if not text.isdigit() or len(text) > 10:
            raise BadFrame(f"Content-Length {text[:20].decode('latin-1')!r} is not a number", complete, self._head())
        return int(text)

    def _head(self) -> bytes:
        return bytes(self._buffer[: self._head_end])
