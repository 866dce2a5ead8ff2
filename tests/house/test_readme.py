"""README's commands: exactly one a block, the first runs the product, the second the tests, and CI runs the second.

Since no container engine may be at hand, the steps of the Dockerfile's build stage are carried out here in an empty
folder, which is at the same time README's first command up to the start of the demo.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def blocks() -> list[str]:
    return re.findall(r"^```sh\n(.*?)^```", (ROOT / "README.md").read_text(encoding="utf-8"), re.S | re.M)


def test_the_first_two_blocks_are_one_command_each() -> None:
    first, second = (block.strip() for block in blocks()[:2])
    assert "\n" not in first
    assert "\n" not in second
    assert first.endswith("callgate demo")
    assert second.endswith("pytest -n 2 --dist worksteal")


def test_ci_runs_the_readmes_test_command() -> None:
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert "blocks[1]" in script
    assert "CALLGATE_PEERS=required" in script


def dockerfile_stages() -> list[list[tuple[str, str]]]:
    text = re.sub(r"\\\n\s*", "", (ROOT / "Dockerfile").read_text(encoding="utf-8"))
    stages: list[list[tuple[str, str]]] = []
    for line in text.splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        word, _, rest = line.partition(" ")
        if word == "FROM":
            stages.append([])
        stages[-1].append((word, rest.strip()))
    return stages


def test_dockerfile_has_two_stages_and_ends_without_root() -> None:
    stages = dockerfile_stages()
    assert len(stages) == 2
    assert ("USER", "callgate") in stages[-1]
    assert stages[-1][-1] == ("CMD", '["callgate", "serve"]')


def test_dockerfiles_build_stage_works_in_an_empty_folder(tmp_path: Path) -> None:
    """COPY copies from the checkout, RUN runs; then the product answers from the folder that was installed."""
    work, prefix = tmp_path / "src", tmp_path / "opt"
    work.mkdir()
    for word, rest in dockerfile_stages()[0]:
        if word == "COPY":
            *sources, target = rest.split()
            for source in sources:
                subprocess.run(["cp", "-r", str(ROOT / source), str(work / target)], check=True)
        elif word == "RUN":
            command = rest.replace("/opt/callgate", str(prefix / "callgate")).replace("python3", sys.executable)
            prefix.mkdir(exist_ok=True)
            subprocess.run(["bash", "-euc", command], cwd=work, check=True)
    callgate = prefix / "callgate" / "bin" / "callgate"
    environment = {**os.environ, "HOME": str(tmp_path)}
    command = [callgate, "--version"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert re.match(r"callgate \d+\.\d+\.\d+", done.stdout)
