"""The one function the command line calls: from settings to an exit status."""

import asyncio
import sys
from typing import Final

from gateway.config.settings import Settings
from gateway.redaction import redact
from gateway.supervisor.binding import Bound, bind
from gateway.supervisor.folder import Folder, FolderError
from gateway.supervisor.supervisor import Supervisor
from gateway.telemetry import logs
from gateway.transport.sockets import ListenError
from gateway.worker.plan import Role

ROLES: Final[dict[str, tuple[Role, ...]]] = {
    "all": ("worker", "settler", "admin"),
    "worker": ("worker",),
    "settler": ("settler",),
    "admin": ("admin",),
}


def serve(settings: Settings, *, role: str = "all", cut_on_drain: bool = False) -> int:
    """Run the gate, or one role of it, in the foreground until SIGTERM or SIGINT; returns the exit status.

    1 where a port is taken, the data folder cannot be used, or another live gate holds the node's name: one line on
    standard error says which and what to do.  Stores that are away stop nothing.
    """
    roles = ROLES[role]
    try:
        folder = Folder(settings.data_dir, roles)
    except FolderError as error:
        return _refuse(error)
    try:
        bound = bind(settings, sip="worker" in roles, admin="admin" in roles)
    except ListenError as error:
        folder.close()
        return _refuse(error)
    logs.configure(settings.telemetry.log_level, settings.telemetry.log_format, "supervisor")
    for notice in settings.notices:
        logs.get_logger("supervisor").warning("setting not taken literally", notice=notice)
    try:
        return asyncio.run(_supervise(settings, roles, bound, folder, cut_on_drain))
    finally:
        bound.close()
        folder.close()


async def _supervise(settings: Settings, roles: tuple[Role, ...], bound: Bound, folder: Folder, cut: bool) -> int:
    return await Supervisor(settings, roles, bound, folder, cut).run()


def _refuse(error: Exception) -> int:
    sys.stderr.write(f"callgate: {redact(str(error))}\n")
    return 1
