"""README's first calls: the files it writes and the commands on them work as they stand."""

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_walks_files_are_taken(tmp_path: Path) -> None:
    walk = (ROOT / "README.md").read_text(encoding="utf-8").partition("## First calls")[2]
    found = re.search(r"^```sh\n(.*?)^```", walk, re.S | re.M)
    assert found is not None
    script, place = found[1], tmp_path / "bin"
    place.mkdir()
    callgate = place / "callgate"
    callgate.write_text(f'#!/bin/sh\nexec {sys.executable} -m gateway.cli "$@"\n')
    callgate.chmod(0o755)
    environment = {**os.environ, "PATH": f"{place}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    work = tmp_path / "work"
    work.mkdir()
    command = ["bash", "-euc", script]
    done = subprocess.run(command, cwd=work, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "all is well" in done.stdout
    assert done.stdout.endswith("booked 0.100000 for contoso; its ledger balance is 0.100000\n")
