"""Builds the git revision into wheels and source distributions; everything else stands in pyproject.toml."""

import json
import sys
from pathlib import Path
from typing import Any

from setuptools import setup
from setuptools.command.build_py import build_py
from setuptools.command.sdist import sdist

ROOT = Path(__file__).resolve().parent
sys.path.insert(0, str(ROOT))  # a build front end does not put the project there

from fgl_flower.revision import BUILT_IN, state_of  # noqa: E402

STATE = state_of(ROOT / "fgl_flower")  # before the build puts copies of the sources into the checkout


def write_revision(folder: Path) -> None:
    """Write the revision of the checkout being built, or of the source distribution it came from, into `folder`."""
    target = folder / "fgl_flower" / BUILT_IN
    target.unlink(missing_ok=True)  # it may be left from another build, or a hard link into the sources
    if STATE["revision"]:
        target.write_text(json.dumps(STATE) + "\n", encoding="utf-8")


class BuildWithRevision(build_py):
    """Copies the packages and adds the revision; an editable install asks git each time it runs."""

    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            write_revision(Path(self.build_lib))


class SdistWithRevision(sdist):
    """Collects the sources and adds the revision."""

    def make_release_tree(self, base_dir: str, files: Any) -> None:
        super().make_release_tree(base_dir, files)
        write_revision(Path(base_dir))


setup(cmdclass={"build_py": BuildWithRevision, "sdist": SdistWithRevision})
