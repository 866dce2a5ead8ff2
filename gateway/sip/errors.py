"""What can be wrong with what a peer sent, and what to answer: faults carry a SIP status as a hint.

Only these two leave the room: :class:`BadUri` for an address, :class:`BadMessage` for a whole message.  Both say
whose fault it is by their type (the peer's), what was wrong by their text, and which status fits.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.sip.address import Via
    from gateway.sip.message import Request


class BadUri(ValueError):  # noqa: N818 - the name says whose fault it is
    """A URI that cannot be read; ``status`` is 400 for broken syntax, 416 for a scheme nobody here speaks."""

    def __init__(self, text: str, status: int = 400) -> None:
        super().__init__(text)
        self.status = status


class BadMessage(ValueError):  # noqa: N818
    """A message that cannot be accepted; ``text`` says what is wrong and ``status`` what fits as an answer.

    ``request`` is the request as far as it could be read, so that the refusal can repeat its header fields; it is
    None where nothing may be answered: a response, an ACK (RFC 3261 17.1.1.3), or bytes that are no SIP at all.
    ``via`` is its newest hop, None where that cannot be read either: the answer goes where the bytes came from.
    """

    def __init__(self, text: str, status: int = 400, request: "Request | None" = None) -> None:
        super().__init__(text)
        self.text = text
        self.status = status
        self.request = request
        self.via: Via | None = None
