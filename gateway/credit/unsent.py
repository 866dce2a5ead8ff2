"""Charges that outlive their worker: what Redis may not have when a worker ends waits in a file for the next start.

A worker keeps its charges until the ledger has them (``kept``).  Where it ends while Redis is away it writes them into
a file (``charge_file``), and the next start of the same slot takes them over: they are said like any charge that Redis
may have forgotten, the reservation merged before it.  That is right whatever happened meanwhile, since the scripts
decide: a newer generation of a slot owns what an older one had (MONEY 5), a marker refuses a second charge, and of a
call that was swept only what is above the sweep's charge is taken.  So a file may be said any number of times.

It goes when Redis has acknowledged all of it and has then stayed up for LOSS_WINDOW_S: Redis' own file has it by then.
Nothing waits for the ledger here, because a start is not told again what was booked before it.

Only an owner's name may say its charges.  Of slots and node names that do not run any more see ``gone``.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from gateway.call.commands import Settle
from gateway.credit.charge_file import BrokenFileError, files_in, read_charges, read_owner, write_charges
from gateway.credit.kept import LOSS_WINDOW_S, UNSENT_MAX, Keeper, Kept

WRITTEN_MAX: Final = 2 * UNSENT_MAX
"""Charges in one file: UNSENT_MAX stop new calls, and as many live ones (sip.max_calls) may end after that.  Some
45 MB, written in a second: a worker that is asked to end has five more than its drain (supervisor.child)."""

LOOK_EVERY_S: Final = 60.0
"""How often the folder is looked at: a worker that was orphaned or fenced may write its file after the next began."""

_DO: Final = (
    "each line names call, tenant_id and charge_micros: take what `callgate ledger` does not have with "
    "`callgate fund TENANT -AMOUNT --kind adjustment --reference CALL`"
)


def owners_in(data_dir: Path) -> set[str]:
    """Everybody, ``node/slot``, whose charges wait in this data folder; files that cannot be read are passed by."""
    owners = set()
    for path in files_in(data_dir):
        with suppress(OSError, BrokenFileError):
            owners.add(read_owner(path))
    return owners


class _File:
    """A file whose charges are kept; ``since_s`` is when all of it was first seen acknowledged."""

    __slots__ = ("calls", "left", "path", "refused", "since_s")

    def __init__(self, path: Path, calls: Iterable[str]) -> None:
        self.path = path
        self.calls = tuple(calls)
        self.refused: set[str] = set()
        self.left = False
        """Nothing more is done with it by this worker."""
        self.since_s: float | None = None


class Unsent:
    """The files of one owner (``node/slot``): read into its keeper at the start, written from it at the end.

    ``data_dir`` None: there is no folder, and charges that Redis has not taken end with the worker.
    """

    def __init__(self, data_dir: Path | None, owner: str, keeper: Keeper, alert: Callable[[str, str], None]) -> None:
        self._data_dir, self._owner, self._keeper, self._alert = data_dir, owner, keeper, alert
        self._files: dict[Path, _File] = {}
        self._file_of: dict[str, _File] = {}
        self._look_at_s = 0.0

    @property
    def waiting(self) -> bool:
        """Some file's charges are not known to be safe in Redis yet."""
        return any(not file.left for file in self._files.values())

    def take_over(self) -> None:
        """Keep the charges of files that were not read yet, as many as do not stop new calls; the rest later."""
        for path in files_in(self._data_dir) if self._data_dir is not None else ():
            if path not in self._files and not self._keeper.full:
                self._take_over_one(path)

    def _take_over_one(self, path: Path) -> None:
        try:
            if read_owner(path) != self._owner:
                return
            charges = read_charges(path)
        except FileNotFoundError:
            return  # another worker has just removed it or set it aside
        except BrokenFileError as error:
            self._set_aside(path, ".broken", "UNSENT_CHARGES_BROKEN", f"charges in {path} cannot be read: {error}")
            return
        except OSError as error:
            self._alert("UNSENT_CHARGES_UNREADABLE", f"{path}: {error}; it is tried again each minute")
            return
        self._remember(path, charges)
        for kept in charges:
            self._keeper.take_over(kept)

    def _remember(self, path: Path, charges: Iterable[Kept]) -> None:
        file = self._files[path] = _File(path, (kept.command.call_id for kept in charges))
        self._file_of.update(dict.fromkeys(file.calls, file))

    def keep_house(self, now: float, up: bool) -> None:
        """Remove files whose charges are safe, and look for new ones; called every second or so."""
        if up:
            for file in list(self._files.values()):
                if not file.left and self._is_safe(file, now):
                    self._finish(file)
        if now >= self._look_at_s:
            self._look_at_s = now + LOOK_EVERY_S
            self.take_over()

    def doubt(self) -> None:
        """Redis came back and may have forgotten: its last acknowledgements are to be waited for again."""
        for file in self._files.values():
            file.since_s = None

    def refuse(self, call_id: str) -> None:
        """Redis will never take this charge: a person has to look at its file."""
        file = self._file_of.get(call_id)
        if file is not None:
            file.refused.add(call_id)

    def leave(self, call_id: str) -> None:
        """Another owner answers for this call, perhaps a newer start that has read the same file: the file is its."""
        file = self._file_of.get(call_id)
        if file is not None:
            file.left = True

    def _is_safe(self, file: _File, now: float) -> bool:
        if not all(self._keeper.is_taken(call_id) for call_id in file.calls):
            file.since_s = None
            return False
        if file.since_s is None:
            file.since_s = now
        return now - file.since_s >= LOSS_WINDOW_S

    def _finish(self, file: _File) -> None:
        file.left = True
        if file.refused:
            text = f"{len(file.refused)} charges of {file.path} were not taken by Redis"
            self._set_aside(file.path, ".refused", "UNSENT_CHARGES_REFUSED", text)
        else:
            try:
                file.path.unlink(missing_ok=True)
            except OSError as error:  # the next start says it again, which takes nothing a second time
                self._alert("UNSENT_CHARGES_LEFT", f"{error}: remove it by hand, Redis has all of it")
                return
        self._files.pop(file.path, None)
        for call_id in file.calls:
            self._file_of.pop(call_id, None)

    def _set_aside(self, path: Path, suffix: str, code: str, text: str) -> None:
        aside = path.with_suffix(suffix)
        try:
            path.rename(aside)
        except OSError as error:
            self._alert(code, f"{text}; it could not be set aside ({error}); {_DO}")
        else:
            self._alert(code, f"{text}; it was set aside as {aside.name}; {_DO}")

    def write(self, up: bool) -> None:
        """The worker ends: leave what Redis may not have, but what stands in a file already.

        An alert says how much waits, or how much is lost because it could not be written.
        """
        charges = [kept for kept in self._keeper.doubtful(up) if kept.command.call_id not in self._file_of]
        written, lost = charges[:WRITTEN_MAX], charges[WRITTEN_MAX:]
        why = f"a file holds {WRITTEN_MAX}"
        if written:
            try:
                self._write(written)
            except OSError as error:
                lost, why = charges, str(error)
        self._tell_lost(lost, why)

    def _write(self, charges: list[Kept]) -> None:
        if self._data_dir is None:
            raise OSError("there is no data folder")
        path = write_charges(self._data_dir, self._owner, charges)
        self._remember(path, charges)
        micros = list(_charged(charges))
        if micros:
            text = f"{len(micros)} charges, {sum(micros)} micros in all, were not taken by Redis and wait in {path}"
            self._alert("CHARGES_WAIT", f"{text}: the next start of {self._owner} takes them; keep the data folder")

    def _tell_lost(self, charges: Iterable[Kept], why: str) -> None:
        micros = list(_charged(charges))
        if micros:
            text = f"{len(micros)} charges, {sum(micros)} micros in all, were never taken by Redis"
            text = f"{text} and end with this worker ({why}): the sweep will charge what talk Redis knows of"
            self._alert("CHARGES_NOT_TAKEN", text)


def _charged(charges: Iterable[Kept]) -> Iterator[int]:
    """What those of them come to that Redis has not acknowledged, each in micro-units."""
    for kept in charges:
        if isinstance(kept.command, Settle) and not kept.acknowledged:
            yield kept.command.charge_micros
