"""A small name server of the test's own: answers what its zone says, on a UDP port of the loopback."""

import socket
import threading
from types import TracebackType

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset

from gateway.config.values import HostPort

SOA = "ns.example.org. admin.example.org. 1 3600 600 86400 60"


class NameServer:
    """``zone`` is name → kind → (TTL in seconds, records as text); what is not in it does not exist.

    ``silent``: no question is answered.  ``broken``: all get SERVFAIL.  ``asked`` are the questions, in order.
    """

    def __init__(self, zone: dict[str, dict[str, tuple[int, list[str]]]]) -> None:
        self.zone = zone
        self.silent = self.broken = False
        self.asked: list[tuple[str, str]] = []
        self._sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._sock.bind(("127.0.0.1", 0))
        self.address = HostPort(*self._sock.getsockname())
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> "NameServer":
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._sock.sendto(b"", self._sock.getsockname())
        self._thread.join()
        self._sock.close()

    def _serve(self) -> None:
        while True:
            data, peer = self._sock.recvfrom(4096)
            if not data:
                return
            reply = self._reply(dns.message.from_wire(data))
            if reply is not None:
                self._sock.sendto(reply.to_wire(), peer)

    def _reply(self, query: dns.message.Message) -> dns.message.Message | None:
        (question,) = query.question
        name = str(question.name).rstrip(".").lower()
        self.asked.append((name, dns.rdatatype.to_text(question.rdtype)))
        if self.silent:
            return None
        reply = dns.message.make_response(query)
        reply.flags |= dns.flags.RA
        if self.broken:
            reply.set_rcode(dns.rcode.SERVFAIL)
            return reply
        kinds = self.zone.get(name)
        ttl_s, records = (kinds or {}).get(self.asked[-1][1], (0, []))
        if records:
            reply.answer.append(dns.rrset.from_text(question.name, ttl_s, "IN", question.rdtype, *records))
        else:
            reply.authority.append(dns.rrset.from_text("example.org.", 60, "IN", "SOA", SOA))
        if kinds is None:
            reply.set_rcode(dns.rcode.NXDOMAIN)
        return reply
