"""The wheel: its top level, and every file that is not code loads from an installed wheel, not from this checkout."""

import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = {"gateway", "rating", "policy", "loadtest"}
NOT_SHIPPED = {".py", ".pyc"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--outdir", str(out), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = out.glob("*.whl")
    return path


def test_wheel_is_pure_and_holds_the_four_packages(wheel: Path) -> None:
    assert wheel.name.endswith("-py3-none-any.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    top = {name.split("/")[0] for name in names}
    assert {name for name in top if not name.endswith(".dist-info")} == PACKAGES
    for package in PACKAGES:
        assert f"{package}/py.typed" in names


def test_data_files_load_from_the_installed_wheel(wheel: Path, tmp_path: Path) -> None:
    """Every .lua, .csv, template … of the checkout is readable through importlib.resources in a fresh environment."""
    venv.create(tmp_path / "env", with_pip=True)
    python = tmp_path / "env" / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", "--no-deps", str(wheel)], check=True, cwd=tmp_path)
    data = sorted(
        str(path.relative_to(ROOT))
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and path.suffix not in NOT_SHIPPED and "__pycache__" not in path.parts
    )
    assert any(name.endswith(".lua") for name in data)
    code = (
        "import sys, importlib.resources as r\n"
        "for name in sys.argv[1:]:\n"
        "    package, _, rest = name.partition('/')\n"
        "    file = r.files(package).joinpath(rest)\n"
        "    assert 'site-packages' in str(file), file\n"
        "    file.read_bytes()\n"
        "print(len(sys.argv) - 1)\n"
    )
    done = subprocess.run([python, "-c", code, *data], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) == len(data)
