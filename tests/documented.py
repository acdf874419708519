"""The objects of docs/extending.md as a module: what the documentation shows is what the tests run."""

import ast
import re
from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs" / "extending.md"


def write_documented(folder: Path) -> Path:
    """Write what the page's code defines, not what it runs, into `folder/documented_objects.py`; return the file."""
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    defined = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef)
    nodes = [node for block in blocks for node in ast.parse(block).body if isinstance(node, defined)]
    file = folder / "documented_objects.py"
    file.write_text("\n\n".join(map(ast.unparse, nodes)), encoding="utf-8")
    return file
