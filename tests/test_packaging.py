"""Wheel and source distribution: complete, and they know the revision they were built from, never another one's."""

import json
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from fgl_flower import revision

ROOT = Path(__file__).parent.parent
NOT_SOURCES = {".git", ".venv", "build", "dist", "runs", ".flwr", "__pycache__"}
pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
UNKNOWN = {"revision": None, "dirty": None}


def git(folder: Path, *arguments: str) -> str:
    who = ("-c", "user.name=A", "-c", "user.email=a@example.org")
    done = subprocess.run(["git", *who, *arguments], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def committed(folder: Path) -> str:
    """Make a repository of a folder's files and return its revision."""
    git(folder, "init", "-q")
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", "all")
    return git(folder, "rev-parse", "HEAD")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout of this project with a history of its own: the sources as they are now, without the big weights."""

    def ignored(folder: str, names: list[str]) -> set[str]:
        caches = {name for name in names if name.endswith((".egg-info", "_cache")) or name == ".hypothesis"}
        return caches | NOT_SOURCES & set(names) | {name for name in names if name.endswith(".safetensors")}

    copy = tmp_path / "checkout"
    shutil.copytree(ROOT, copy, ignore=ignored)
    weights = copy / "miniature/weights/generator/unet/diffusion_pytorch_model.safetensors"
    assert (ROOT / weights.relative_to(copy)).is_file()
    weights.write_bytes(b"weights")
    return copy


def build(kind: str, source: Path, target: Path) -> Path:
    """Build a "wheel" or an "sdist" of a source tree, as pip does but with the setuptools that is here."""
    code = f"import sys; from setuptools import build_meta; build_meta.build_{kind}(sys.argv[1])"
    target.mkdir(exist_ok=True)
    subprocess.run([sys.executable, "-c", code, str(target)], cwd=source, capture_output=True, check=True)
    (built,) = target.glob({"wheel": "*.whl", "sdist": "*.tar.gz"}[kind])
    return built


def test_a_wheel_made_from_the_sdist_knows_the_revision_and_the_sdist_is_complete(
    checkout: Path, tmp_path: Path
) -> None:
    sha = committed(checkout)
    with tarfile.open(build("sdist", checkout, tmp_path / "built")) as archive:
        archive.extractall(tmp_path / "unpacked", filter="data")
    assert git(checkout, "status", "--porcelain") == ""  # nothing is written into the sources
    (source,) = (tmp_path / "unpacked").iterdir()
    packed = {str(path.relative_to(source)) for path in source.rglob("*") if path.is_file()}
    assert packed >= set(git(checkout, "ls-files").splitlines())
    assert {"tests/conftest.py", "docs/flower.md", "Makefile", ".ci/run", "experiments/demo/fgl.toml"} <= packed
    assert (source / ".ci/run").stat().st_mode & 0o111

    wheel = zipfile.ZipFile(build("wheel", source, tmp_path / "built"))
    assert json.loads(wheel.read("fgl_flower/_revision.json")) == {"revision": sha, "dirty": False}
    assert {"experiments/demo/fgl.toml", "fgl_flower/py.typed"} <= set(wheel.namelist())


def test_a_checkout_is_asked_and_changes_count(checkout: Path) -> None:
    sha = committed(checkout)
    assert revision.state_of(checkout / "fgl_flower") == {"revision": sha, "dirty": False}
    (checkout / "notes.txt").write_text("not code", encoding="utf-8")
    assert revision.state_of(checkout / "fgl_flower")["dirty"] is False
    (checkout / "clients" / "more.py").write_text("", encoding="utf-8")
    assert revision.state_of(checkout / "fgl_flower") == {"revision": sha, "dirty": True}


@pytest.mark.parametrize("tracked", [False, True], ids=["ignored", "committed"])
def test_an_installation_inside_another_repository_does_not_take_its_revision(tmp_path: Path, tracked: bool) -> None:
    package = tmp_path / ".venv/lib/site-packages/fgl_flower"
    package.mkdir(parents=True)
    shutil.copy(revision.__file__, package)
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "theirs"\n', encoding="utf-8")
    if not tracked:
        (tmp_path / ".gitignore").write_text(".venv/\n", encoding="utf-8")
    committed(tmp_path)
    assert revision.state_of(package) == UNKNOWN
    (package / revision.BUILT_IN).write_text('{"revision": "1234", "dirty": false}', encoding="utf-8")
    assert revision.state_of(package) == {"revision": "1234", "dirty": False}
    (package / revision.BUILT_IN).write_text("[]", encoding="utf-8")
    assert revision.state_of(package) == UNKNOWN


def test_a_package_copied_to_the_top_of_another_repository_does_not_take_its_revision(tmp_path: Path) -> None:
    (tmp_path / "fgl_flower").mkdir()
    shutil.copy(revision.__file__, tmp_path / "fgl_flower")
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "theirs"\n', encoding="utf-8")
    committed(tmp_path)
    assert revision.state_of(tmp_path / "fgl_flower") == UNKNOWN


def test_a_git_hook_of_another_repository_does_not_lend_its_revision(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sha = committed(checkout)
    other = tmp_path / "other"
    other.mkdir()
    (other / "file").write_text("", encoding="utf-8")
    committed(other)
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    assert revision.state_of(checkout / "fgl_flower")["revision"] == sha
