"""The server's limits follow what an honest client of the run may have to say."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from fgl_flower.config import RunConfig
from fgl_flower.wire.codec import decode, encode
from fgl_flower.wire.limits import Limits
from fgl_flower.wire.payload import Prompt, PromptPayload
from strategies import planning


def test_limits_follow_how_many_captions_and_classes_there_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    least, many = Limits(), 6000
    rng = np.random.default_rng(0)
    words = ["star", "moon", "heart", "circle", "photo", "sketch", "large", "small", "red", "blue"]
    texts = {f"star, a {' '.join(rng.choice(words, 20))}" for _ in range(many)}
    payload = PromptPayload(0, tuple(sorted(Prompt(text, "star") for text in texts)))
    records = encode(payload)
    assert len(records["payload"]["data"]) > least.data_bytes
    for most, taken in ((many, True), (1000, False)):
        config = RunConfig(prompt_level="instance", max_captions=most)
        assert (decode(records, planning.limits_for(config), ("star",)) == payload) == taken
    usual = planning.limits_for(RunConfig())
    generators = {name: getattr(usual, name) for name in ("count_tokens", "embedding", "token_width")}
    assert usual == replace(least, **generators)
    assert usual.token_width == 64  # the miniature's text encoder
    monkeypatch.setattr(planning, "load_source", lambda config: SimpleNamespace(classes=range(2000), domains=range(5)))
    assert planning.limits_for(RunConfig()).prompts == 2000 * 6
