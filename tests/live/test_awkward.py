"""Awkward datagrams against the living gate: whatever comes in, it answers as it should and goes on working."""

import json
import random
import re
import select
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from loadtest.bench.gate import Gate, Trunks
from loadtest.bench.processes import Children
from loadtest.wire import Address

pytestmark = pytest.mark.peer("redis-server")

CARRIER = "127.0.0.3"
TORTURE = Path(__file__).resolve().parents[3] / "shared" / "torture"
INDEX = json.loads((TORTURE / "index.json").read_text()) if (TORTURE / "index.json").is_file() else []

DECK = (
    "prefix,destination,rate_micros_per_min,connect_micros,first_incr_s,next_incr_s\n"
    "44,United Kingdom,60000,0,1,1\n1,United States,60000,0,1,1\n"
)
PROVISIONING = """
[[rate_deck]]
name = "standard"
currency = "USD"
file = "deck.csv"

[[tenant]]
id = "contoso"
name = "Contoso"
rate_deck = "standard"
licensing = "none"
"""

HEAD = (
    "{method} {uri} SIP/2.0\r\n"
    "Via: SIP/2.0/UDP {here};branch=z9hG4bK{token};rport\r\n"
    "Max-Forwards: 70\r\n"
    "From: <sip:+14255550000@{here}>;tag={token}\r\n"
    "To: <sip:x@127.0.0.1>\r\n"
    "Call-ID: {token}@awkward\r\n"
    "CSeq: 1 {method}\r\n"
    "Contact: <sip:+14255550000@{here}>\r\n"
    "Content-Length: 0\r\n\r\n"
)

VERDICTS: list[tuple[str, tuple[str, str], tuple[int, ...]]] = [
    ("a call id is missing", (r"Call-ID: .*\r\n", ""), (400, 0)),
    ("no maximum of forwards", (r"Max-Forwards: .*\r\n", ""), (402, 404)),
    ("no forwards left", ("Max-Forwards: 70", "Max-Forwards: 0"), (483,)),
    ("a negative length", ("Content-Length: 0", "Content-Length: -1"), (400,)),
    ("a length beyond the datagram", ("Content-Length: 0", "Content-Length: 9999"), (400,)),
    ("an overlarge sequence number", (r"CSeq: 1 ", "CSeq: 99999999999 "), (400,)),
    ("methods that differ", (r"CSeq: 1 INVITE", "CSeq: 1 OPTIONS"), (400,)),
    ("an unknown version", (r"SIP/2\.0\r\nVia", "SIP/7.0\r\nVia"), (505, 400)),
    ("an unknown scheme", (r"INVITE \S+", "INVITE nobodyknows:x"), (416, 404)),
    ("an extension nobody has", (r"Max-Forwards", "Require: unheard-of\r\nMax-Forwards"), (420,)),
    ("no contact", (r"Contact: .*\r\n", ""), (400,)),
    ("an unclosed quotation", (r"From: <", 'From: "a <'), (400,)),
]


class Sender:
    """A socket at the PBX's address that sends one datagram and takes the final answer."""

    def __init__(self, gate: Gate, host: str) -> None:
        self._gate = gate
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((host, 0))
        self._socket.settimeout(2.0)
        self.here = Address(*self._socket.getsockname())
        self._tokens = 0

    def close(self) -> None:
        self._socket.close()

    def message(self, method: str = "INVITE", uri: str = "sip:+442079460000@127.0.0.1") -> str:
        self._tokens += 1
        return HEAD.format(method=method, uri=uri, here=self.here, token=f"{self.here.port}x{self._tokens}")

    def send(self, datagram: bytes) -> None:
        self._socket.sendto(datagram, self._gate.sip)

    def final(self) -> int:
        """The status of the next final answer; 0 where none comes."""
        while True:
            try:
                status = _status(self._socket.recv(65535).decode("latin-1"))
            except TimeoutError:
                return 0
            if status >= 200:
                return status

    def drain(self) -> None:
        """Forget what was answered until now."""
        self._socket.settimeout(0.2)
        while self.final():
            pass
        self._socket.settimeout(2.0)


@pytest.fixture(scope="module")
def host() -> str:
    """A PBX's address that nobody else in this machine's tests has, so that any port at it can be listened at."""
    return f"127.{random.randrange(1, 250)}.{random.randrange(250)}.{random.randrange(1, 250)}"


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory, host: str) -> Iterator[Gate]:
    """One gate for all of this file, whose tenant has too little money for any call: nothing is dialled."""
    with Children() as children:
        trunks = Trunks([host], [CARRIER], [f"sip:{CARRIER}"], access_lines='tenant = "contoso"')
        made = Gate(children, tmp_path_factory.mktemp("awkward") / "gate", trunks)
        made.start_redis()
        made.provision(PROVISIONING, DECK, [("contoso", "0.000001")])
        made.start()
        yield made


def still_works(gate: Gate, sender: Sender) -> None:
    """The gate answers OPTIONS, its processes live on, and its log has no fault of the program."""
    sender.drain()
    sender.send(sender.message("OPTIONS", f"sip:{gate.sip}").encode())
    assert sender.final() == 200
    assert "Traceback" not in gate.log.read_text()


def test_awkward_requests_are_refused_as_they_should_be(gate: Gate, host: str) -> None:
    sender = Sender(gate, host)
    pids = gate.pids()
    try:
        for name, (old, new), statuses in VERDICTS:
            text = re.sub(old, new, sender.message(), count=1)
            sender.send(text.encode())
            found = sender.final()
            assert found in statuses, name
            sender.drain()
        still_works(gate, sender)
    finally:
        sender.close()
    assert gate.pids() == pids


def test_rubbish_is_survived(gate: Gate, host: str) -> None:
    sender = Sender(gate, host)
    pids = gate.pids()
    dice = random.Random(11)
    try:
        for size in (0, 1, 2, 4, 64, 1_000, 60_000):
            sender.send(dice.randbytes(size))
        for _ in range(500):
            sender.send(_spoiled(sender.message().encode(), dice))
        sender.send(sender.message().encode().replace(b"Max-Forwards", b"X: " + b"y" * 50_000 + b"\r\nMax-Forwards"))
        sender.send(sender.message().replace("Contact", "Via: SIP/2.0/UDP x\r\n" * 1_500 + "Contact").encode())
        still_works(gate, sender)
    finally:
        sender.close()
    assert gate.pids() == pids


def _spoiled(datagram: bytes, dice: random.Random) -> bytes:
    """The datagram with a few octets changed, dropped, doubled or cut off."""
    octets = bytearray(datagram)
    for _ in range(dice.randrange(1, 6)):
        place = dice.randrange(len(octets))
        match dice.randrange(4):
            case 0:
                octets[place] = dice.randrange(256)
            case 1:
                del octets[place]
            case 2:
                octets[place:place] = octets[place : place + dice.randrange(40)]
            case _ if len(octets) > 50:
                del octets[-dice.randrange(1, 20) :]
    return bytes(octets)


def _status(text: str) -> int:
    """The status of an answer, which may carry back whatever was wrong with the request; 0 of a request."""
    found = re.match(r"SIP/2\.0 (\d{3}) ", text)
    return int(found[1]) if found else 0


class Ears:
    """Sockets at one address for every port that a message's Via may ask the answer to be sent to (RFC 3261 18.2.2)."""

    def __init__(self, host: str, ports: set[int]) -> None:
        self.sockets = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in ports]
        for each, port in zip(self.sockets, sorted(ports), strict=True):
            each.bind((host, port))

    def close(self) -> None:
        for each in self.sockets:
            each.close()

    def final(self, asked: tuple[str, str], within_s: float) -> int:
        """The status of the final answer to the request of this name; 0 where none comes within the time."""
        give_up_s = time.monotonic() + within_s
        while time.monotonic() < give_up_s:
            for each in select.select(self.sockets, [], [], 0.05)[0]:
                text = each.recv(65535).decode("latin-1")
                if _status(text) >= 200 and _name(text) == asked:
                    return _status(text)
        return 0


def _name(text: str) -> tuple[str, str]:
    """Call-ID and topmost branch, which an answer carries back; several torture messages share their Call-ID."""
    text = re.sub(r"\r\n[ \t]+", " ", text)
    call_id = re.search(r"(?im)^(?:call-id|i)[ \t]*:\s*(\S+)", text)
    branch = re.search(r"(?im)^(?:via|v)[ \t]*:.*;\s*branch\s*=\s*([^;,\s]*)", text)
    return call_id[1] if call_id else "", branch[1] if branch else ""


def _via_port(text: str) -> int:
    """The port of the topmost Via's sent-by, 5060 where it names none or is not to be read."""
    via = re.search(r"(?ims)^(?:via|v)[ \t]*:\s*SIP\s*/\s*2\.0\s*/\s*\w+\s+([^;,\r]+)", text)
    port = re.search(r"(?:\]|^[^:\]]*)\s*:\s*(\d+)\s*$", via[1]) if via else None
    return int(port[1]) if port and 1024 <= int(port[1]) <= 65535 else 5060


def _judged(entry: dict[str, Any], status: int) -> bool:
    """Whether ``status`` (0: no answer) is what the index asks for."""
    match entry["verdict"]:
        case "drop":
            return status == 0
        case "reject":
            return status in entry["codes"]
        case "accept":
            return status not in (0, 400, 505)
    return status != 0


if INDEX:  # the messages of RFC 4475 and 5118 stand beside the repository, not in it

    def test_the_torture_messages_get_their_verdicts(gate: Gate, host: str) -> None:
        pids = gate.pids()
        messages = [(TORTURE / entry["file"]).read_bytes() for entry in INDEX]
        ears = Ears(host, {5060, 5061, *(_via_port(message.decode("latin-1")) for message in messages)})
        try:
            wrong = []
            for entry, message in zip(INDEX, messages, strict=True):
                ears.sockets[0].sendto(message, gate.sip)
                status = ears.final(_name(message.decode("latin-1")), 0.4 if entry["verdict"] == "drop" else 1.5)
                if not _judged(entry, status):
                    wrong.append(f"{entry['name']}: {status}, expected {entry['verdict']} {entry['codes']}")
        finally:
            ears.close()
        assert wrong == []
        assert "Traceback" not in gate.log.read_text()
        assert gate.pids() == pids
