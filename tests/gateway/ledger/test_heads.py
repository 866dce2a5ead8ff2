"""Heads kept outside the database: what a chain alone cannot show is noticed, and the files are tamper-evident too."""

from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update

from gateway.ledger import CallEntry, Head, HeadFiles, HeadsError, Ledger, UnknownTenant, heads, kept_hashes
from gateway.ledger.chain import Line, Tail, line_hash
from gateway.ledger.tables import CREDIT, accounts, calls, postings
from gateway.ledger.verify import Kept

from ..tamper import drop_triggers, tamper

Call = Callable[..., CallEntry]

DAY_MS = 86_400_000
MONDAY_MS = 1_760_313_600_000


@pytest.fixture
def files(tmp_path: Path) -> HeadFiles:
    return HeadFiles(tmp_path)


def head(seq: int, tenant: str = "contoso") -> Head:
    return Head(tenant, seq, sha256(b"%d" % seq).digest())


def kept_of(files: HeadFiles, tenant: str = "contoso") -> Kept:
    return kept_hashes(files.read_all({tenant}))[tenant]


# The files


def test_one_file_a_day_and_a_key_that_only_the_owner_reads(files: HeadFiles, tmp_path: Path) -> None:
    assert files.is_due(MONDAY_MS)
    files.write([head(3), head(2, "fabrikam")], MONDAY_MS)
    assert not files.is_due(MONDAY_MS + DAY_MS - 1)
    assert files.is_due(MONDAY_MS + DAY_MS)
    files.write([head(4)], MONDAY_MS + DAY_MS)
    assert files.days() == ["2025-10-13", "2025-10-14"]
    assert files.read("2025-10-13").heads == (head(3), head(2, "fabrikam"))
    assert [file.heads for file in files.read_all({"contoso"})] == [(head(3),), (head(4),)]
    assert (tmp_path / heads.KEY_FILE).stat().st_mode & 0o777 == 0o600


def test_the_first_day_on_which_a_head_was_kept_is_told(files: HeadFiles) -> None:
    for day, seq in enumerate((3, 3, 5)):
        files.write([head(seq)], MONDAY_MS + day * DAY_MS)
    assert {seq: day for seq, (_, day) in kept_of(files).items()} == {3: "2025-10-13", 5: "2025-10-15"}


def test_old_files_go(files: HeadFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heads, "KEPT_FILES", 3)
    for day in range(5):
        files.write([head(day + 1)], MONDAY_MS + day * DAY_MS)
    assert files.days() == ["2025-10-15", "2025-10-16", "2025-10-17"]
    assert [file.heads for file in files.read_all()] == [(head(3),), (head(4),), (head(5),)]


CHANGES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "a number": (
        lambda path: path.write_bytes(path.read_bytes().replace(b'"seq": 4', b'"seq": 3')),
        "signature is wrong",
    ),
    "cut short": (lambda path: path.write_bytes(path.read_bytes()[:-9]), "signature is wrong"),
    "emptied": (lambda path: path.write_bytes(b""), "signature is wrong"),
    "gone": (lambda path: path.unlink(), "does not follow"),
    "an older one in its place": (
        lambda path: path.write_bytes(path.with_name("2025-10-13.heads").read_bytes()),
        "does not follow",
    ),
}


@pytest.mark.parametrize(("change", "why"), CHANGES.values(), ids=CHANGES.keys())
def test_a_file_that_was_changed_is_noticed(files: HeadFiles, change: Callable[[Path], Any], why: str) -> None:
    for day in range(3):
        files.write([head(day + 3)], MONDAY_MS + day * DAY_MS)
    change(files.folder / "2025-10-14.heads")
    with pytest.raises(HeadsError, match=why):
        list(files.read_all())


def test_without_its_key_nothing_is_believed_and_no_new_key_is_made(files: HeadFiles, tmp_path: Path) -> None:
    files.write([head(3)], MONDAY_MS)
    (tmp_path / heads.KEY_FILE).unlink()
    with pytest.raises(HeadsError, match="put it back from a backup"):
        list(files.read_all())
    with pytest.raises(HeadsError, match="put it back from a backup"):
        files.write([head(4)], MONDAY_MS + DAY_MS)


# The ledger against them


async def keep(ledger: Ledger, files: HeadFiles, day: int = 0) -> None:
    files.write(await ledger.heads(), MONDAY_MS + day * DAY_MS)


async def test_kept_heads_prove_the_lines_before_them(ledger: Ledger, call: Call, files: HeadFiles) -> None:
    await keep(ledger, files)
    assert files.read("2025-10-13").heads == (), "no line, no head"
    await ledger.book([call(), call(), call("fabrikam")])
    await keep(ledger, files, 1)
    await ledger.book([call()])
    verdict = await ledger.verify_chain("contoso", kept_of(files))
    assert (verdict.intact, verdict.length, verdict.proved_seq) == (True, 3, 2)
    assert await ledger.lost_heads(await ledger.heads()) == []
    assert [each.tenant_id for each in files.read("2025-10-14").heads] == ["contoso", "fabrikam"]


CUT = (
    "DELETE FROM calls WHERE charge_id IN (SELECT charge_id FROM postings WHERE seq > 2)",
    "DELETE FROM postings WHERE seq > 2",
    "UPDATE accounts SET seq = 2, head = (SELECT hash FROM postings WHERE seq = 2), balance_micros = "
    "(SELECT balance_micros FROM postings WHERE seq = 2) WHERE tenant_id = 'contoso' AND name = 'credit'",
)


async def test_a_tail_cut_off_by_somebody_who_knows_how_is_noticed(
    ledger: Ledger, call: Call, files: HeadFiles
) -> None:
    await ledger.fund("contoso", 1_000_000, "r1")
    await ledger.book([call() for _ in range(3)])
    await keep(ledger, files)
    await tamper(ledger, *CUT)
    assert (await ledger.verify_chain("contoso")).intact, "the chain alone cannot show it"
    verdict = await ledger.verify_chain("contoso", kept_of(files))
    assert (verdict.broken_seq, verdict.why) == (3, "the lines from here to 4 are gone: they were there on 2025-10-13")
    assert [lost.seq for lost in await ledger.lost_heads(files.read("2025-10-13").heads)] == [4]


async def forge(ledger: Ledger) -> None:
    """Make the third line cheaper and every hash from there on fit, as the code itself would."""
    mine, tail = postings.c.tenant_id == "contoso", Tail("contoso")
    columns = [postings.c[name] for name in Line.__dataclass_fields__]
    async with ledger.database.write() as connection:
        await drop_triggers(connection)
        for row in (await connection.execute(select(*columns).where(mine).order_by(postings.c.seq))).all():
            line = Line(*row)
            line.amount_micros += 7 * (line.seq == 3)
            line.balance_micros = tail.balance_micros + line.amount_micros
            line.hash = line_hash(tail.head, line)
            tail.balance_micros, tail.head = line.balance_micros, line.hash
            moved = {"amount_micros": line.amount_micros, "balance_micros": line.balance_micros, "hash": line.hash}
            await connection.execute(update(postings).where(mine, postings.c.seq == line.seq).values(moved))
        ends = {"balance_micros": tail.balance_micros, "head": tail.head}
        credit = (accounts.c.tenant_id == "contoso") & (accounts.c.name == CREDIT)
        await connection.execute(update(accounts).where(credit).values(ends))
        await connection.execute(update(calls).where(calls.c.charge_id == "call-0002").values(charge_micros=19_993))


async def test_a_chain_made_anew_is_noticed(ledger: Ledger, call: Call, files: HeadFiles) -> None:
    await ledger.fund("contoso", 1_000_000, "r1")
    await keep(ledger, files)
    await ledger.book([call() for _ in range(3)])
    await keep(ledger, files, 1)
    await forge(ledger)
    assert (await ledger.verify_chain("contoso")).intact, "the chain alone cannot show it"
    verdict = await ledger.verify_chain("contoso", kept_of(files))
    assert verdict.broken_seq == 4
    assert "the line whose hash was kept on 2025-10-14" in verdict.why


async def test_an_account_that_is_gone_is_noticed(ledger: Ledger, call: Call, files: HeadFiles) -> None:
    await ledger.book([call()])
    await keep(ledger, files)
    gone = [f"DELETE FROM {table} WHERE tenant_id = 'contoso'" for table in ("postings", "calls", "accounts")]
    await tamper(ledger, *gone)
    with pytest.raises(UnknownTenant):
        await ledger.verify_chain("contoso")
    verdict = await ledger.verify_chain("contoso", kept_of(files))
    assert (verdict.broken_seq, verdict.why) == (1, "its account and all its lines are gone")
