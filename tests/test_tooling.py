"""What stands around the code: pins, hooks, targets and the bundle that Flower makes of the app."""

import io
import re
import subprocess
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").split()
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.]+", line) for line in lines)
    return {canonicalize_name(name): version for name, version in (line.split("==") for line in lines)}


def test_every_dependency_is_pinned_inside_its_range() -> None:
    pinned = pins()
    assert pinned["torch"] == "2.13.0"
    assert "fgl-flower" not in pinned
    extras = PROJECT["project"]["optional-dependencies"]
    for text in PROJECT["project"]["dependencies"] + extras["dev"] + extras["tensorboard"] + extras["lora"]:
        requirement = Requirement(text)
        version = pinned[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(version), text


def test_hooks_are_local() -> None:
    for repository in yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"]:
        assert repository["repo"] == "local"
        assert all(hook["language"] == "system" for hook in repository["hooks"])


def test_make_and_ci_name_what_exists() -> None:
    make = (ROOT / "Makefile").read_text(encoding="utf-8")
    ci = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z]+):", make, re.MULTILINE))
    assert targets >= {"demo", "test", "lint", "clean", "environment", "help"}
    assert set(re.findall(r"^make ([a-z]+)", ci, re.MULTILINE)) == {"environment", "lint", "test"}
    assert "set -euo pipefail" in ci
    assert (ROOT / ".ci" / "run").stat().st_mode & 0o111


def test_make_demo_is_the_command_the_readme_names() -> None:
    done = subprocess.run(["make", "--dry-run", "demo"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "fgl compare experiments/demo/*.toml --runs-dir runs/demo" in done.stdout


def test_flower_takes_the_app_and_finds_its_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLWR_TELEMETRY_ENABLED", "0")
    from flwr.cli.build import build_fab_from_disk

    with zipfile.ZipFile(io.BytesIO(build_fab_from_disk(ROOT))) as bundle:
        names = set(bundle.namelist())
        inside = tomllib.loads(bundle.read("pyproject.toml").decode())
    assert {"strategies/server_app.py", "clients/client_app.py", "fgl_flower/report/template.py"} <= names
    assert not [name for name in names if name.endswith((".safetensors", ".html"))]
    assert inside["tool"]["flwr"]["app"]["config"] == PROJECT["tool"]["flwr"]["app"]["config"]
    assert "federations" not in PROJECT["tool"]["flwr"]
