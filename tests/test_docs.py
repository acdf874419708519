"""What the documentation names exists: links, paths and modules."""

import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
GUIDES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("docs/*.md")), ROOT / "miniature/README.md"]
PAGES = [*GUIDES, ROOT / "CHANGELOG.md"]  # whose old names are no longer there
PACKAGES = "fgl_flower|strategies|clients|experiments|miniature"
PATH = re.compile(rf"(?<![\w./-])(?:{PACKAGES}|tests|docs)/[\w./*-]*")
MODULE = re.compile(rf"(?<![\w./-])(?:{PACKAGES})(?:\.[A-Za-z_]\w*)+(?::\w+)?")
LINK = re.compile(r"\]\(([^)\s]+)\)")


def anchors(text: str) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def is_there(dotted: str) -> bool:
    """Return whether a dotted name is a module, or an attribute of one."""
    parts = dotted.replace(":", ".").split(".")
    for length in range(len(parts), 0, -1):
        name = ".".join(parts[:length])
        try:
            found = importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name is None or not name.startswith(error.name):
                raise
            continue
        for part in parts[length:]:
            if not hasattr(found, part):
                return False
            found = getattr(found, part)
        return True
    return False


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for link in LINK.findall(page.read_text(encoding="utf-8")):
        if link.startswith(("https://", "http://")):
            continue
        place, _, anchor = link.partition("#")
        target = page.parent / place if place else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target.read_text(encoding="utf-8")), link


@pytest.mark.parametrize("page", GUIDES, ids=lambda page: str(page.relative_to(ROOT)))
def test_paths_and_modules_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for path in {match.rstrip("./") for match in PATH.findall(text)}:
        assert any(ROOT.glob(path)), path
    names = {name for name in MODULE.findall(text) if name != "clients.log"}  # a file of a run folder
    assert not sorted(name for name in names if not is_there(name))


def test_a_name_that_is_not_there_is_noticed() -> None:
    assert is_there("fgl_flower.wire.codec")
    assert is_there("strategies.fgl:FGL")
    assert not is_there("fgl_flower.payload")
    assert not is_there("fgl_flower.wire.codec:nothing")
