"""Once a day the settler keeps the heads of the chains, and says where yesterday's are gone."""

import asyncio
from pathlib import Path

from structlog.testing import capture_logs

from gateway.credit.admin import CreditAdmin
from gateway.ledger import HeadFiles, Ledger, heads
from gateway.settlement import Settler
from gateway.settlement.heads import keep_heads

from ..tamper import tamper


async def test_a_settler_keeps_them_once_a_day(ledger: Ledger, credit: CreditAdmin, tmp_path: Path) -> None:
    files, stop = HeadFiles(tmp_path), asyncio.Event()
    await ledger.fund("contoso", 5, "r1")
    working = asyncio.create_task(Settler(ledger, credit, heads=files).run(stop))
    async with asyncio.timeout(20):
        while not files.days():
            await asyncio.sleep(0.01)
    stop.set()
    await working
    [day] = files.days()
    assert list(files.read(day).heads) == await ledger.heads()
    assert not await keep_heads(ledger, files), "the day has its file"


async def test_lines_that_are_gone_are_told_of(ledger: Ledger, tmp_path: Path) -> None:
    files = HeadFiles(tmp_path)
    await ledger.fund("contoso", 5, "r1")
    await ledger.fund("fabrikam", 5, "r1")
    files.write(await ledger.heads(), 1_760_000_000_000)
    await tamper(ledger, "UPDATE postings SET hash = record_sha256 WHERE tenant_id = 'contoso'")
    with capture_logs() as logs:
        assert await keep_heads(ledger, files)
    assert [(line["tenant"], line["line"]) for line in logs if line["log_level"] == "error"] == [("contoso", 1)]
    assert len(files.days()) == 2


async def test_a_folder_that_cannot_be_used_stops_nothing(ledger: Ledger, tmp_path: Path) -> None:
    (tmp_path / heads.FOLDER).write_text("a file")
    with capture_logs() as logs:
        assert not await keep_heads(ledger, HeadFiles(tmp_path))
    assert [line["event"] for line in logs] == ["heads of the ledger are not kept"]


async def test_a_changed_file_is_told_of_and_the_days_heads_are_kept(ledger: Ledger, tmp_path: Path) -> None:
    files = HeadFiles(tmp_path)
    files.write([], 1_760_000_000_000)
    [file] = files.folder.iterdir()
    file.write_bytes(b"rubbish")
    with capture_logs() as logs:
        assert await keep_heads(ledger, files)
    assert [line["event"] for line in logs] == ["heads of the ledger cannot be compared"]
