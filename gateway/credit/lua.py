"""The scripts of this room: read from the package, put together with the parts they include, known by their SHA-1.

A script names what it shares with others by a line ``--@include PART``; the part's text is put in its place.  Redis
keeps a script under the SHA-1 of its text, so every gate of one version calls the same ones, and two versions side by
side do not disturb each other.
"""

import re
from dataclasses import dataclass
from hashlib import sha1
from importlib.resources import files
from typing import Final

_INCLUDE: Final = re.compile(r"^--@include (\w+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Script:
    """One script: its name, its whole text, and the name that Redis knows it by."""

    name: str
    text: str
    sha: str


def _read(path: str) -> str:
    return files(__package__).joinpath("scripts", *path.split("/")).read_text(encoding="utf-8")


def _load(name: str) -> Script:
    text = _INCLUDE.sub(lambda match: _read(f"lib/{match[1]}.lua").rstrip(), _read(f"{name}.lua"))
    return Script(name, text, sha1(text.encode(), usedforsecurity=False).hexdigest())


RESERVE: Final = _load("reserve")
ANSWER: Final = _load("answer")
RENEW: Final = _load("renew")
PROVE: Final = _load("prove")
SETTLE: Final = _load("settle")
RELEASE: Final = _load("release")
MERGE: Final = _load("merge")
CLAIM: Final = _load("claim")
SWEEP: Final = _load("sweep")
FUND: Final = _load("fund")
WITHDRAW: Final = _load("withdraw")
OPEN_EPOCH: Final = _load("open_epoch")
PUBLISH: Final = _load("publish")
CREATE: Final = _load("create")
ADOPT: Final = _load("adopt")
INHERIT: Final = _load("inherit")
INHERITED: Final = _load("inherited")
MARK: Final = _load("mark")
CLEAR: Final = _load("clear")
RESTORE: Final = _load("restore")
RECOUNT: Final = _load("recount")
WITHDRAWN: Final = _load("withdrawn")
LOOK: Final = _load("look")
ANEW: Final = _load("anew")
REGISTER: Final = _load("register")
FORGET: Final = _load("forget")

HOT: Final = (RESERVE, ANSWER, RENEW, PROVE, SETTLE, RELEASE, MERGE, CLAIM)
"""What a worker calls; loaded at each connection."""

REPAIR: Final = (OPEN_EPOCH, MARK, CLEAR, RESTORE, RECOUNT, WITHDRAWN)
"""What a rebuild calls, many at once; loaded when it begins."""

ALL: Final = (
    *HOT, *REPAIR, SWEEP, FUND, WITHDRAW, PUBLISH, CREATE, ADOPT, INHERIT, INHERITED, LOOK, ANEW, REGISTER,
    FORGET,
)  # fmt: skip

BY_SHA: Final = {script.sha: script for script in ALL}
