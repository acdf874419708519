"""Arrows between packages run downward only, files stay small, and nothing unpickles."""

import ast
from pathlib import Path

import pytest

from tests.import_graph import circle, import_graph

ROOT = Path(__file__).parent.parent
PACKAGES = ("fgl_flower", "strategies", "clients", "experiments", "miniature")
MAY_IMPORT = {
    "fgl_flower": set(),
    "miniature": {"fgl_flower"},
    "strategies": {"fgl_flower"},
    "clients": {"fgl_flower"},
    "experiments": {"fgl_flower", "strategies", "clients", "miniature"},
}
FILES = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]


def imports(path: Path) -> set[str]:
    """Return the modules a file names in its import statements, wherever they stand."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found.add(node.module or "")
    return found


@pytest.mark.parametrize("package", PACKAGES)
def test_arrows_run_downward_only(package: str) -> None:
    allowed = MAY_IMPORT[package] | {package}
    for path in (ROOT / package).rglob("*.py"):
        others = {module.split(".")[0] for module in imports(path)} & set(PACKAGES)
        assert others <= allowed, f"{path.relative_to(ROOT)} imports {others - allowed}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_are_small_documented_and_safe(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    assert len(text.splitlines()) <= 400, "split it"
    assert ast.get_docstring(tree) or not tree.body, "a module says what it is for"
    unsafe = {"pickle", "torchvision", "dill", "cloudpickle", "joblib"}
    assert not {module.split(".")[0] for module in imports(path)} & unsafe
    calls = {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    assert not calls & {"torch.load", "eval", "exec", "np.load", "numpy.load"}


def test_folders_are_at_most_two_deep() -> None:
    assert all(len(path.relative_to(ROOT).parts) <= 4 for path in FILES)


def test_no_modules_import_each_other() -> None:
    assert circle(import_graph(ROOT, PACKAGES)) == []


def test_a_circle_is_found_also_through_a_function(tmp_path: Path) -> None:
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "one.py").write_text("from package.two import x\n", encoding="utf-8")
    (tmp_path / "package" / "two.py").write_text("x = 1\n", encoding="utf-8")
    assert circle(import_graph(tmp_path, ("package",))) == []
    (tmp_path / "package" / "two.py").write_text("def f():\n    from package import one\n", encoding="utf-8")
    assert set(circle(import_graph(tmp_path, ("package",)))) == {"package.one", "package.two"}
