"""Objects of a user's own that lie outside the project."""

import sys
from collections.abc import Iterator

import pytest

from tests.documented import write_documented


@pytest.fixture(scope="session", autouse=True)
def documented(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Make the module `documented_objects` importable: `halves`, `Noise` and `Brightness` of docs/extending.md."""
    folder = str(write_documented(tmp_path_factory.mktemp("documented")).parent)
    sys.path.insert(0, folder)
    yield
    sys.path.remove(folder)
    sys.modules.pop("documented_objects", None)
