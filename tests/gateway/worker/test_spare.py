"""The spare of the directory: written in pieces, decks beside it, read back whole or not at all."""

from dataclasses import replace
from pathlib import Path

import pytest

from gateway.config.facts import policy_facts
from gateway.worker.spare import PIECE, SNAPSHOT_FILE, Spare
from policy.directory import Coming, Directory, Tenant, Trunk, User
from policy.unassigned import UnassignedRule
from rating.deck import Deck, RateRow
from rating.tariff import Tariff


def directory(version: int, *decks: Deck, users: int = 1) -> Directory:
    people = [User(f"u{n}", "a", f"+1425{n:07d}", licences=("MCOPSTN5", "MCOPSTNPP")) for n in range(users)]
    return Directory(
        version,
        trunks={"pbx": Trunk("pbx", "access", tenant="a")},
        tenants={"a": Tenant("a", unassigned=(UnassignedRule("0$", "pbx"),))},
        users={("a", user.id): user for user in people},
        users_by_number={user.number: user for user in people},
        decks={deck.name: deck for deck in decks},
        failure_policy="retry",
        facts=policy_facts(),
    )


def deck(name: str, rows: int = 1) -> Deck:
    return Deck(name, "USD", [RateRow(str(1000 + n), "somewhere", "", "", "", Tariff(n)) for n in range(rows)])


def files(folder: Path) -> set[str]:
    return {file.name for file in folder.iterdir()}


@pytest.mark.parametrize("many", [0, 1, PIECE, 2 * PIECE + 1])
def test_it_is_read_back(tmp_path: Path, many: int) -> None:
    saved = directory(3, deck("standard", many), users=many)
    Spare(tmp_path).save(saved)
    found = Spare(tmp_path).load()
    assert found is not None
    assert (found.version, found.failure_policy, found.trunks) == (3, "retry", saved.trunks)
    assert (found.tenants, found.users, found.users_by_number) == (saved.tenants, saved.users, saved.users_by_number)
    assert found.funds == saved.funds
    assert found.unassigned.find("+10") == saved.unassigned.find("+10")
    assert [*found.decks["standard"].rows()] == [*saved.decks["standard"].rows()]
    assert found.decks["standard"].currency == "USD"


def test_a_deck_is_written_where_it_is_another_one_and_goes_with_its_name(tmp_path: Path) -> None:
    spare, first, other = Spare(tmp_path), deck("first"), deck("other")
    spare.save(directory(1, first, other))
    written = {file: file.stat().st_ino for file in tmp_path.glob("deck-*")}
    assert len(written) == 2
    spare.save(directory(2, deck("first", 2), other))
    changed = [file for file, inode in written.items() if file.stat().st_ino != inode]
    assert len(changed) == 1
    spare.save(directory(3, other))
    assert files(tmp_path) == {SNAPSHOT_FILE, *(file.name for file in written if file not in changed)}
    found = Spare(tmp_path).load()
    assert found is not None
    assert (found.version, [*found.decks]) == (3, ["other"])


@pytest.mark.parametrize("data", [b"", b"nonsense", b"\x80\x05K\x01.", b"\x80\x05K\x02K\x03\x86."])
def test_one_that_cannot_be_read_is_none(tmp_path: Path, data: bytes) -> None:
    assert Spare(tmp_path).load() is None
    (tmp_path / SNAPSHOT_FILE).write_bytes(data)
    assert Spare(tmp_path).load() is None


def test_without_one_of_its_decks_it_is_none(tmp_path: Path) -> None:
    Spare(tmp_path).save(directory(1, deck("standard", 2 * PIECE)))
    (file,) = tmp_path.glob("deck-*")
    file.write_bytes(file.read_bytes()[:-100])
    assert Spare(tmp_path).load() is None
    file.unlink()
    assert Spare(tmp_path).load() is None


def test_the_decks_that_will_follow_are_kept_too(tmp_path: Path) -> None:
    """A restart without the ledger would go on with the old price for ever."""
    spare = Spare(tmp_path)
    coming = {"standard": (Coming(1_000, deck("standard", 2)), Coming(2_000, deck("standard", 3)))}
    spare.save(replace(directory(1, deck("standard"), deck("other")), coming=coming))
    found = Spare(tmp_path).load()
    assert found is not None
    assert [*found.decks] == ["standard", "other"]
    assert {name: [(at_ms, [*each.rows()]) for at_ms, each in some] for name, some in found.coming.items()} == {
        name: [(at_ms, [*each.rows()]) for at_ms, each in some] for name, some in coming.items()
    }
    spare.save(directory(2, coming["standard"][0].deck))
    assert len([*tmp_path.glob("deck-*")]) == 1
    again = Spare(tmp_path).load()
    assert again is not None
    assert ([*again.decks["standard"].rows()], again.coming) == ([*deck("standard", 2).rows()], {})
