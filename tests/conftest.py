"""Fixtures that several test files share."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def _the_same_path() -> Iterator[None]:
    """Take back what loading a `module:object` adds to the path: actors of a later test would inherit it."""
    before = list(sys.path)
    yield
    sys.path[:] = before


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Keep torch to one thread, for modules that ask: it is repeatable there, and safe in a forked child."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def tiny_vit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a random-weight ViT for 32x32 images."""
    from tests.tiny_classifiers import save_classifier

    return save_classifier(tmp_path_factory.mktemp("classifiers") / "vit")


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a random-weight `StableDiffusionPipeline` that draws 32x32 images in 3 guided steps."""
    from tests.tiny_models import save_text_to_image

    folder = tmp_path_factory.mktemp("models") / "tiny"
    return save_text_to_image(folder, defaults={"steps": 3, "guidance": 2.0, "size": 32})


@pytest.fixture
def few_sentences(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Make public bases of so few sentences that a test need not wait for them."""
    from fgl_flower.levels import public_basis

    monkeypatch.setattr(public_basis, "_SENTENCES", 200)
    public_basis._basis.cache_clear()
    yield
    public_basis._basis.cache_clear()
