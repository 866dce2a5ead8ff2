"""Trace: the SIP messages of one call as arrows, from the ladders that workers keep on demand."""

import os
import signal
import time
from pathlib import Path
from typing import Annotated, Final

import typer

from gateway.cli.common import AsJson, ConfigFile, command, load, wait
from gateway.cli.output import Failure, print_json
from gateway.cli.stores import find_record
from gateway.config.settings import Settings
from gateway.moments import iso_utc
from gateway.telemetry.ladder import Ladder, Rung, draw
from gateway.telemetry.logs import hide

WRITTEN_WITHIN_S: Final = 5.0
"""How long workers may take to write their ladders."""
LOOK_EVERY_S: Final = 0.05
LEGS_MAX: Final = 200_000


@command
def trace(
    call: Annotated[
        str,
        typer.Argument(
            metavar="CALL_ID", help="The id of `calls`, the UsageId of `usage`; a SIP Call-ID draws its leg alone."
        ),
    ],
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Draw the SIP messages of a call; needs telemetry.ladder_calls above 0, on the machine of the workers."""
    settings = load(config)

    record = wait(find_record(settings, call))
    rungs = _gathered(settings).rungs((call, record.sip_call_id if record else ""))
    if not rungs:
        raise Failure(f"no worker has kept messages of call {call!r}; see telemetry.ladder_calls and `callgate calls`")
    if as_json:
        print_json([rung_document(rung) for rung in rungs])
    else:
        typer.echo(draw(rungs))


def rung_document(rung: Rung) -> dict[str, object]:
    """One message with its whole text, secrets apart."""
    return {"at": iso_utc(rung.at_ms), "sent": rung.sent, "peer": rung.peer, "message": hide(rung.text)}


def _gathered(settings: Settings) -> Ladder:
    """Ask every worker of this machine for its ladder.  Raises Failure where none runs or none answers."""
    run = settings.data_dir / "run"
    workers = {path: _pid(path) for path in run.glob("ready-*")}
    alive = {run / f"ladder-{path.name.removeprefix('ready-')}.json": pid for path, pid in workers.items() if pid}
    if not alive:
        raise Failure(f"no worker of {settings.data_dir} runs here; call this where `callgate serve` runs")
    for path, pid in alive.items():
        path.unlink(missing_ok=True)
        os.kill(pid, signal.SIGUSR1)
    ladder = Ladder(LEGS_MAX)
    for path in alive:
        _wait_for(path)
        ladder.read(path)
    return ladder


def _pid(ready: Path) -> int:
    """The living worker that left this file; 0 where there is none."""
    try:
        pid = int(ready.read_text(encoding="ascii"))
        os.kill(pid, 0)
    except (OSError, ValueError):
        return 0
    return pid


def _wait_for(path: Path) -> None:
    give_up_s = time.monotonic() + WRITTEN_WITHIN_S
    while not path.exists():
        if time.monotonic() > give_up_s:
            raise Failure(f"{path} was not written; set telemetry.ladder_calls above 0 and restart the gate")
        time.sleep(LOOK_EVERY_S)
