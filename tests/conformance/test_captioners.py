"""The shipped captioner, models of the kinds that the hub has, and the captioner of docs/extending.md."""

from pathlib import Path

import pytest

from tests.conformance.captioners import CaptionerSuite
from tests.tiny_captioners import save_blip2, save_llava


class TestShipped(CaptionerSuite):
    captioner = "miniature"


class TestDocumented(CaptionerSuite):
    captioner = "documented_objects:Brightness"


@pytest.mark.parametrize("save", [save_blip2, save_llava])
class TestFolders(CaptionerSuite):
    @pytest.fixture(autouse=True)
    def _saved(self, save: object, request: pytest.FixtureRequest) -> None:
        self.captioner = str(request.getfixturevalue("checkpoints")[save])


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[object, Path]:
    return {save: save(tmp_path_factory.mktemp("captioner")) for save in (save_blip2, save_llava)}
