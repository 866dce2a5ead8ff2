"""Kamailio with dialog and cnxcc: the peer that a prepaid SIP gate in C is measured by.

It is given one child process, as the gate is given one worker, and the same money: one unit a second.
"""

import glob
import shutil
from importlib.resources import files
from pathlib import Path
from typing import Final

from loadtest.bench.processes import Children, descendants, free_port, wait_until
from loadtest.bench.subject import Places
from loadtest.wire import Address

MODULES: Final = "/usr/lib/*/kamailio/modules"
SHARED_MEMORY_MB: Final = "512"
PACKAGE_MEMORY_MB: Final = "32"


def modules() -> str:
    """The folder of Kamailio's modules, cnxcc among them; empty where it is not installed."""
    if shutil.which("kamailio") is None:
        return ""
    return next((folder for folder in glob.glob(MODULES) if Path(folder, "cnxcc.so").exists()), "")


class KamailioSubject:
    """One Kamailio; every caller has ``credit`` units of money."""

    name = "kamailio + cnxcc"

    def __init__(self, children: Children, folder: Path, where: Places, credit: str) -> None:
        self.places = where
        self.sip = Address("127.0.0.1", free_port())
        self._children = children
        folder = folder / f"kamailio-{self.sip.port}"
        folder.mkdir(parents=True)
        config = folder / "kamailio.cfg"
        config.write_text(files("loadtest.peers").joinpath("kamailio.cfg").read_text())
        names = {
            "LISTEN": f"udp:{self.sip}",
            "CALLEE": f'"sip:{where.callee}"',
            "CREDIT": f'"{credit}"',
            "COST": '"1"',
        }
        log = folder / "kamailio.log"
        self.process = children.start(
            [
                "kamailio", "-f", config, "-DD", "-E", "-n", "1", "-m", SHARED_MEMORY_MB, "-M", PACKAGE_MEMORY_MB,
                "-b", "4194304", "-L", modules(), "-P", folder / "pid", "-Y", folder,
                *(word for name, value in names.items() for word in ("-A", f"{name}={value}")),
            ],
            log,
        )  # fmt: skip
        port = f":{self.sip.port:04X} "
        wait_until(lambda: port in Path("/proc/net/udp").read_text(), 10.0, "kamailio", self.process, log)

    def pids(self) -> dict[str, list[int]]:
        """All its processes as one: it tells no roles apart."""
        return {"worker": [self.process.pid, *descendants(self.process.pid)]}

    def wait_booked(self) -> bool:
        """It books nothing."""
        return True

    def books_fault(self, charged: int) -> str:
        """It has no books."""
        del charged
        return ""

    def stop(self) -> None:
        """End it."""
        self._children.stop(self.process)
