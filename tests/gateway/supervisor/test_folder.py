from pathlib import Path

import pytest

from gateway.supervisor.folder import Folder, FolderError
from gateway.worker.plan import ready_file


def test_the_installation_keeps_its_text(tmp_path: Path) -> None:
    first = Folder(tmp_path / "data", ["worker"])
    first.close()
    second = Folder(tmp_path / "data", ["worker"])
    assert len(first.instance) == 32
    assert second.instance == first.instance
    second.close()


def test_a_role_runs_once_in_a_folder(tmp_path: Path) -> None:
    first = Folder(tmp_path, ["worker", "settler"])
    with pytest.raises(FolderError, match="another `callgate serve` runs the role settler"):
        Folder(tmp_path, ["settler"])
    other = Folder(tmp_path, ["admin"])
    first.close()
    Folder(tmp_path, ["worker", "settler"]).close()
    other.close()


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FolderError, match=r"node\.data_dir"):
        Folder(tmp_path / "file" / "data", ["worker"])


def test_a_dead_worker_is_not_ready(tmp_path: Path) -> None:
    folder = Folder(tmp_path, ["worker"])
    ready_file(tmp_path, 1).write_text("123")
    folder.forget_ready(1)
    folder.forget_ready(1)
    assert not ready_file(tmp_path, 1).exists()
    folder.close()
