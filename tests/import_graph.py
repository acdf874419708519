"""Which module imports which, read from the source: imports in functions count, those for type checkers do not."""

import ast
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path


def import_graph(root: Path, packages: tuple[str, ...]) -> dict[str, set[str]]:
    """Return for each module below `root` the modules of `packages` that it imports.

    ``from package import module`` is an import of the module; of a package's own names, one of the package.
    """
    modules = {_name(root, path): path for package in packages for path in sorted((root / package).rglob("*.py"))}
    graph = {}
    for name, path in modules.items():
        found = set(_imports(ast.parse(path.read_text(encoding="utf-8"))))
        known = {next((n for n in (full, parent) if n in modules), "") for parent, full in found}
        graph[name] = known - {"", name}
    return graph


def circle(graph: Mapping[str, set[str]]) -> list[str]:
    """Return the modules of a circle, the first one again at the end; empty if there is none."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(reversed(error.args[1]))
    return []


def _name(root: Path, path: Path) -> str:
    return ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__")


def _imports(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """Yield module and full name of everything imported, but for blocks that only type checkers read."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.Import):
            yield from ((alias.name, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from ((node.module, f"{node.module}.{alias.name}") for alias in node.names)
        else:
            yield from _imports(node)
