"""What tests read of an HTML page, and text that must not become a part of one."""

import re
from html.parser import HTMLParser

HOSTILE = "<script>alert('x')</script>\"><img src=x onerror=alert(1)>"
VOID = {"meta", "img", "br", "line", "circle", "polyline", "path", "use", "stop", "rect"}


class Page(HTMLParser):
    """Collects tags and attributes and checks that tags close in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag


def table(text: str, anchor: str) -> list[list[str]]:
    """Return the texts of the first table of a section, cell by cell."""
    section = text[text.index(f'<h2 id="{anchor}"') :]
    section = section[: section.index("</table>")]
    rows = re.findall(r"<tr.*?</tr>", section, flags=re.DOTALL)
    cells = [re.findall(r"<t[hd].*?</t[hd]>", found, flags=re.DOTALL) for found in rows]
    return [[" ".join(re.sub(r"<[^>]*>", " ", cell).split()) for cell in found] for found in cells]
