"""SIPp as caller and callee: start it, end it, and read what its message traces say.

SIPp's short-message trace stamps every message with microseconds at both ends on one clock.  The two legs of a call
are joined by the called number in the INVITE's Request-URI, since a B2BUA gives each leg a Call-ID of its own.
"""

import contextlib
import csv
import signal
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Final, NamedTuple

from loadtest.bench.processes import Children, wait_until
from loadtest.wire import Address, user_of

CALLER: Final = "caller.xml"
CALLER_WAITS: Final = "caller_waits.xml"
CALLEE: Final = "callee.xml"

SOCKET_BUFFER: Final = 4 * 1024 * 1024
"""Octets of socket buffer given to SIPp; the tester's own sockets have as much."""

FINISH_S: Final = 3.0
"""How long SIPp has to write its traces after it was asked to finish."""


class SippMessage(NamedTuple):
    """A line of a short-message trace: Unix seconds, whether it was sent, Call-ID, CSeq and the start line."""

    at_s: float
    sent: bool
    call_id: str
    cseq: str
    start: str


@dataclass(slots=True)
class SippCall:
    """One call's moments at both ends, in Unix seconds; None where it did not happen.

    The ``uac`` is the caller, the ``uas`` the called side.
    """

    number: str
    uac: dict[str, float] = field(default_factory=dict)
    uas: dict[str, float] = field(default_factory=dict)


class Sipp:
    """One SIPp process; its files are in a folder of its own below ``folder``."""

    def __init__(self, children: Children, folder: Path, name: str) -> None:
        self.folder = folder / name
        self.folder.mkdir(parents=True, exist_ok=True)
        self._children = children
        self._name = name
        self._child: subprocess.Popen[bytes] | None = None

    def start_callee(
        self, here: Address, ring_ms: int = 0, *, scenario: str | Path = CALLEE, trace: bool = False
    ) -> None:
        """Answer whatever arrives at ``here``."""
        self._start([*self._scenario(scenario), "-d", str(ring_ms)], here, trace=trace)

    def start_caller(
        self,
        here: Address,
        gate: Address,
        pairs: Sequence[tuple[str, str]],
        cps: float,
        *,
        scenario: str | Path = CALLER,
        hold_ms: int = 0,
        trace: bool = False,
        options: Sequence[str] = (),
    ) -> None:
        """Place one call for each (caller, called) of ``pairs`` at ``cps`` calls a second."""
        rows = "".join(f"{caller};{called};\n" for caller, called in pairs)
        numbers = self.folder / "numbers.csv"
        numbers.write_text(f"SEQUENTIAL\n{rows}")
        rate = ["-r", str(cps)] if cps == int(cps) else ["-r", str(round(cps * 1000)), "-rp", "1000000"]
        command = [
            str(gate), *self._scenario(scenario), "-inf", str(numbers), "-d", str(hold_ms), *rate,
            "-m", str(len(pairs)), "-l", str(max(1000, 2 * len(pairs))), *options,
        ]  # fmt: skip
        self._start(command, here, trace=trace)

    def wait(self, within_s: float) -> bool:
        """Wait for the last call; whether it came in time."""
        assert self._child is not None
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._child.wait(within_s)
            return True
        return False

    def stop(self) -> None:
        """SIGUSR1 asks SIPp to finish, a second one to drop what is left; its traces are written when it exits."""
        if self._child is None:
            return
        for _ in range(2):
            if self._child.poll() is None:
                self._child.send_signal(signal.SIGUSR1)
                self.wait(FINISH_S)
        self._children.stop(self._child, signal.SIGKILL)
        self._child = None

    def statistics(self) -> dict[str, int]:
        """The cumulated counters of ``-trace_stat``: SuccessfulCall, FailedCall, Retransmissions and their like."""
        with (self.folder / "statistics.csv").open(errors="replace") as lines:
            rows = list(csv.DictReader(lines, delimiter=";"))
        last = rows[-1] if rows else {}
        return {key[:-3]: int(value) for key, value in last.items() if key and key.endswith("(C)") and _whole(value)}

    def messages(self) -> Iterator[SippMessage]:
        """Every message of the trace, in the order of the trace."""
        trace = self.folder / "messages.tsv"
        if not trace.exists():
            return
        with trace.open(errors="replace") as lines:
            for line in lines:
                cells = line.rstrip("\n").split("\t")
                if len(cells) >= 7:
                    yield SippMessage(float(cells[2]), cells[3] == "S", cells[4], cells[5], cells[6])

    def _scenario(self, scenario: str | Path) -> list[str]:
        path = scenario if isinstance(scenario, Path) else self._unpacked(scenario)
        return ["-sf", str(path)]

    def _unpacked(self, scenario: str) -> Path:
        path = self.folder / scenario
        path.write_text(files("loadtest.peers").joinpath(scenario).read_text())
        return path

    def _start(self, command: list[str], here: Address, *, trace: bool) -> None:
        log = self.folder / "output.log"
        tracing = ["-trace_shortmsg", "-shortmessage_file", str(self.folder / "messages.tsv")] if trace else []
        common = [
            "-i", here.host, "-p", str(here.port), "-t", "u1", "-nostdin", "-timer_resol", "1",
            "-buff_size", str(SOCKET_BUFFER), "-max_retrans", "8",
            "-trace_stat", "-stf", str(self.folder / "statistics.csv"), "-fd", "1",
            "-trace_err", "-error_file", str(self.folder / "errors.log"),
        ]  # fmt: skip
        self._child = self._children.start(["sipp", *command, *common, *tracing], log, cwd=self.folder)
        wait_until(lambda: _listens(here), 5.0, f"SIPp ({self._name}) on {here}", self._child, log)


def calls_of(caller: Sipp, callee: Sipp) -> dict[str, SippCall]:
    """Every call by its called number, with its moments at both ends."""
    calls: dict[str, SippCall] = {}
    for sipp, end in ((caller, "uac"), (callee, "uas")):
        numbers: dict[str, str] = {}
        for message in sipp.messages():
            if message.start.startswith("INVITE "):
                numbers.setdefault(message.call_id, user_of(message.start).removeprefix("+"))
            number = numbers.get(message.call_id)
            event = _event(message)
            if number is not None and event is not None:
                call = calls.setdefault(number, SippCall(number))
                getattr(call, end).setdefault(event, message.at_s)
    return calls


def _event(message: SippMessage) -> str | None:
    """A name for what happened, such as ``sent INVITE``, ``heard 180`` or ``heard 200 BYE``."""
    way = "sent" if message.sent else "heard"
    word, _, rest = message.start.partition(" ")
    if word != "SIP/2.0":
        return f"{way} {word}"
    status = rest[:3]
    method = message.cseq.rpartition(" ")[2]
    return f"{way} {status}" if status[0] == "1" else f"{way} {status} {method}"


def _whole(value: str | None) -> bool:
    return value is not None and value.lstrip("-").isdigit()


def _listens(here: Address) -> bool:
    """Whether a UDP socket is bound to this address (``/proc/net/udp``)."""
    host = "".join(f"{int(part):02X}" for part in reversed(here.host.split(".")))
    return f" {host}:{here.port:04X} " in Path("/proc/net/udp").read_text()
