"""Read the report's drawings back: what is drawn under a name, in the units of the drawing."""

import re
from xml.etree import ElementTree

Point = tuple[float, float]


def tree(svg: str) -> ElementTree.Element:
    """Return the drawing of a chart, which must be well-formed."""
    return ElementTree.fromstring(svg[svg.index("<svg") :])


def titles(svg: str) -> list[str]:
    """Return the names under the pointer, in the order of drawing."""
    return [element.text or "" for element in tree(svg).iter("title")]


def lines(svg: str, name: str) -> list[list[Point]]:
    """Return the corners of the straight lines and areas of a name, in the order of drawing."""
    return [_points(d) for d in _paths(svg, name) if "C" not in d]


def dots(svg: str, name: str) -> list[Point]:
    """Return the centres of the dots of a name."""
    found = [_points(d) for d in _paths(svg, name) if "C" in d]
    return [tuple((min(values) + max(values)) / 2 for values in zip(*path, strict=True)) for path in found]  # type: ignore[misc]


def texts(svg: str) -> dict[str, ElementTree.Element]:
    """Return the elements of text by what they say."""
    return {element.text or "": element for element in tree(svg).iter("text")}


def _paths(svg: str, name: str) -> list[str]:
    groups = [group for group in tree(svg).iter("g") if group.findtext("title") == name]
    return [path.attrib["d"] for group in groups for path in group.iter("path")]


def _points(d: str) -> list[Point]:
    numbers = [float(number) for number in re.findall(r"-?[\d.]+", d)]
    return list(zip(numbers[::2], numbers[1::2], strict=True))
