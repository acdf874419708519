"""The hub switched off for a while, also for libraries that have read the variable already."""

import os

import datasets
import huggingface_hub
import pytest

from fgl_flower.errors import ModelError
from fgl_flower.foundation.captioner import captioner_folder
from fgl_flower.foundation.offline import not_cached, offline


def test_everything_is_as_before_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    with offline():
        assert huggingface_hub.constants.is_offline_mode()
        assert datasets.config.HF_HUB_OFFLINE
        assert os.environ["HF_HUB_OFFLINE"] == "1"
    assert not huggingface_hub.constants.is_offline_mode()
    assert not datasets.config.HF_HUB_OFFLINE
    assert "HF_HUB_OFFLINE" not in os.environ


def test_what_would_have_to_be_asked_for_is_told_from_what_is_wrong() -> None:
    with offline():
        with pytest.raises(ModelError) as absent:
            captioner_folder("someone/none-of-this-name")
        with pytest.raises(ModelError) as wrong:
            captioner_folder("no/such/form")
    assert not_cached(absent.value)
    assert not not_cached(wrong.value)
