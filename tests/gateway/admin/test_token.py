"""The admin token: given, or made once and kept where only the owner reads it."""

import stat
import threading
import tomllib
from pathlib import Path

import pytest

from gateway.admin.token import TOKEN_FILE, TokenError, admin_token
from gateway.config import settings
from gateway.config.settings import Settings


def read(text: str, base: Path) -> Settings:
    return settings.parse(tomllib.loads(text), "", base)


def test_a_given_token_is_used_and_no_file_is_made(tmp_path: Path) -> None:
    found = read('[admin]\ntoken = "s3cret"\n', tmp_path)
    assert admin_token(found) == "s3cret"
    assert not (found.data_dir / TOKEN_FILE).exists()


def test_a_token_is_made_once_and_only_the_owner_reads_it(tmp_path: Path) -> None:
    found = read("", tmp_path)
    token = admin_token(found)
    path = found.data_dir / TOKEN_FILE
    assert len(token) >= 43
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert admin_token(found) == token
    assert [each.name for each in found.data_dir.iterdir()] == [TOKEN_FILE]


def test_every_folder_has_a_token_of_its_own(tmp_path: Path) -> None:
    assert admin_token(read("", tmp_path / "a")) != admin_token(read("", tmp_path / "b"))


def test_several_first_starts_at_once_agree(tmp_path: Path) -> None:
    found, tokens = read("", tmp_path), set[str]()
    barrier = threading.Barrier(4)

    def start() -> None:
        barrier.wait()
        tokens.add(admin_token(found))

    threads = [threading.Thread(target=start) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(tokens) == 1


def test_an_empty_file_is_told(tmp_path: Path) -> None:
    found = read("", tmp_path)
    found.data_dir.mkdir()
    (found.data_dir / TOKEN_FILE).write_text("")
    with pytest.raises(TokenError, match="remove it"):
        admin_token(found)


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "callgate-data").write_text("a file")
    with pytest.raises(TokenError, match=r"set admin\.token"):
        admin_token(read("", tmp_path))
