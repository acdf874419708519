"""Engines: the same images whatever the batch, the replicas or the interruptions; none drawn twice."""

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from transformers import CLIPTokenizer

from fgl_flower.errors import ModelError, StoreError
from fgl_flower.foundation.generator import Generator, GeneratorCard
from fgl_flower.synthesis import engine as engines
from fgl_flower.synthesis import maintenance as upkeep
from fgl_flower.synthesis import tuning
from fgl_flower.synthesis.engine import LocalEngine, windows
from fgl_flower.synthesis.plan import SynthesisPlan
from fgl_flower.synthesis.prompt_cache import PROMPTS_PER_CALL, PromptCache
from fgl_flower.synthesis.sampler import Sampler
from fgl_flower.synthesis.settings import SamplingSettings
from fgl_flower.synthesis.store import SyntheticStore
from tests.made_images import TOLD, plan_for
from tests.plans import Told, even_plan
from tests.tiny_models import save_text_to_image


@pytest.fixture(scope="module")
def generator(tiny_checkpoint: Path) -> Generator:
    return Generator.load(str(tiny_checkpoint), device="cpu", precision="float32")


def pixels_of(generator: Generator, plan: SynthesisPlan, rows: int = 16) -> np.ndarray:
    """Return the drawn images, (N, 3, S, S) uint8."""
    prompts = PromptCache(generator, plan.settings)
    prompts.encode([i.prompt for i in plan.images], plan.embeddings)
    with tuning.one_thread_each(generator):
        return Sampler(prompts, rows).draw(plan.images).pixels.numpy()


@pytest.mark.parametrize("scheduler", ["ddim", "dpm++", "unipc", "euler"])
@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_loop_draws_what_the_pipeline_itself_draws(generator: Generator, scheduler: str, guidance: float) -> None:
    plan = plan_for(generator, 3, scheduler=scheduler, guidance=guidance, negative_prompt="a heart", steps=4)
    pipeline = diffusers.StableDiffusionPipeline(**generator.pipeline.components | {"requires_safety_checker": False})
    pipeline.scheduler = getattr(diffusers, plan.settings.scheduler).from_config(pipeline.scheduler.config)
    pipeline.set_progress_bar_config(disable=True)
    expected = pipeline(
        prompt=[i.prompt for i in plan.images],
        negative_prompt=["a heart"] * len(plan),
        generator=[torch.Generator().manual_seed(i.seed) for i in plan.images],
        num_inference_steps=4,
        guidance_scale=guidance,
        output_type="np",
    ).images.transpose(0, 3, 1, 2)  # (N, 3, 32, 32) in [0, 1]
    assert np.abs(pixels_of(generator, plan) / 255 - expected).max() <= 0.5 / 255 + 1e-4


def test_same_images_for_any_batch_and_any_interruption(
    generator: Generator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_for(generator, 50)
    digests = set()
    for batch in (1, 7, 64):
        store = SyntheticStore(tmp_path / str(batch))
        part = plan if batch != 1 else plan.select(plan.keys[::5])  # one by one costs a full call each
        report = LocalEngine(generator=generator, batch_size=batch).fill(part, store)
        assert (report.planned, report.reused, report.drawn) == (len(part), 0, len(part))
        if batch == 1:
            monkeypatch.setattr(tuning, "replicas_for", lambda _: 3)
            monkeypatch.setattr(engines, "replicas_for", lambda _: 3)
            again = LocalEngine(generator=generator, batch_size=5).fill(plan, store)
            assert (again.reused, again.drawn) == (20, 80)
        digests.add(store.digest(plan))
        assert upkeep.verify(store.path).problems == []
    assert len(digests) == 1


def test_a_plan_that_is_there_loads_nothing(generator: Generator, tmp_path: Path) -> None:
    plan = plan_for(generator, 4)
    store = SyntheticStore(tmp_path)
    LocalEngine(generator=generator).fill(plan, store)
    seen: list[tuple[int, int]] = []
    report = LocalEngine("no/such-model").fill(plan, store, lambda *at: seen.append(at))
    assert (report.reused, report.drawn, seen) == (8, 0, [(8, 8)])
    larger = plan_for(generator, 6)
    assert LocalEngine(generator=generator).fill(larger, store).drawn == 4


def test_progress_counts_up_to_the_plan(generator: Generator, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    LocalEngine(generator=generator).fill(
        plan_for(generator, 20), SyntheticStore(tmp_path), lambda *at: seen.append(at)
    )
    assert seen == [(0, 40), (32, 40), (40, 40)]


def test_another_process_draws_meanwhile(generator: Generator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What someone else commits while we draw is neither drawn nor filed again."""
    plan = plan_for(generator, 40)
    other = SyntheticStore(tmp_path / "other")
    LocalEngine(generator=generator).fill(plan, other)
    store = SyntheticStore(tmp_path / "shared")
    records = list(other.read(plan.keys))
    draw = Sampler.draw

    def draw_while_the_other_commits(self: Sampler, images: list) -> torch.Tensor:
        SyntheticStore(tmp_path / "shared").add(records)
        return draw(self, images)

    monkeypatch.setattr(Sampler, "draw", draw_while_the_other_commits)
    report = LocalEngine(generator=generator, batch_size=1).fill(plan, store)
    assert report.drawn < 10  # those that were already under way
    assert upkeep.verify(store.path) == upkeep.Verdict(80, len(upkeep.shard_names(store.path)), [])
    assert store.digest(plan) == other.digest(plan)


def test_what_was_drawn_before_a_failure_is_kept(
    generator: Generator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, store = plan_for(generator, 50), SyntheticStore(tmp_path)
    draw, calls = Sampler.draw, []

    def fail_at_the_fourth(self: Sampler, images: list) -> torch.Tensor:
        calls.append(len(images))
        if len(calls) == 4:
            raise RuntimeError("the device fell off the bus")
        return draw(self, images)

    with monkeypatch.context() as patch:
        patch.setattr(Sampler, "draw", fail_at_the_fourth)
        with pytest.raises(RuntimeError, match="fell off"):
            LocalEngine(generator=generator).fill(plan, store)
    kept = len(SyntheticStore(tmp_path))
    assert kept >= 16
    assert LocalEngine(generator=generator).fill(plan, store).drawn == 100 - kept


def test_full_disk_stops_the_run_and_the_next_one_goes_on(
    generator: Generator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, store = plan_for(generator, 20), SyntheticStore(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr("fgl_flower.synthesis.store.write_shard", _full)
        with pytest.raises(StoreError, match="no space left"):
            LocalEngine(generator=generator).fill(plan, store)
    assert LocalEngine(generator=generator).fill(plan, store).drawn == 40


def _full(*_: object) -> str:
    raise OSError(28, "No space left on device")


def test_guidance_acts_in_its_interval_alone(generator: Generator) -> None:
    calls: list[int] = []
    handle = generator.pipeline.unet.register_forward_pre_hook(lambda _, given: calls.append(len(given[0])))
    try:
        plan = plan_for(generator, 2, guidance=4.0, steps=4, guidance_from=0.25, guidance_until=0.75)
        partly = pixels_of(generator, plan, rows=4)
    finally:
        handle.remove()
    assert calls == [4, 8, 8, 4]  # four images: eight rows where guided
    always, never = (pixels_of(generator, plan_for(generator, 2, guidance=g, steps=4), rows=4) for g in (4.0, 1.0))
    assert not np.array_equal(partly, always)
    assert not np.array_equal(partly, never)
    # every row of the batch is treated alike: alone it comes out the same
    alone = np.concatenate([pixels_of(generator, plan.select([key]), rows=4) for key in plan.keys])
    assert np.array_equal(alone, partly)


def test_embeddings_draw_what_their_text_draws(generator: Generator) -> None:
    told = [Told("a photo of a star", "star")]
    by_text = plan_for(generator, 3, told)
    encoded, _ = generator.pipeline.encode_prompt(["a photo of a star"] * PROMPTS_PER_CALL, "cpu", 1, False)
    embeddings = {"a photo of a star": encoded[0].numpy()}
    by_embedding = even_plan(told, 3, by_text.settings, 0, embeddings)
    assert set(by_text.keys).isdisjoint(by_embedding.keys)
    same_noise = replace(by_embedding, images=by_text.images)
    assert np.array_equal(pixels_of(generator, same_noise), pixels_of(generator, by_text))
    other = replace(same_noise, embeddings={"a photo of a star": np.zeros_like(encoded[0])})
    assert not np.array_equal(pixels_of(generator, other), pixels_of(generator, by_text))


@pytest.mark.parametrize("shape", [(16,), (16, 5), (3, 32)])
def test_embeddings_of_another_shape_are_refused(generator: Generator, shape: tuple) -> None:
    plan = even_plan([Told("mean", "star")], 1, SamplingSettings.of(generator.card), 0, {"mean": np.zeros(shape)})
    with pytest.raises(ModelError, match="embedding"):
        pixels_of(generator, plan)


def test_a_plan_for_other_weights_is_refused(generator: Generator, tmp_path: Path) -> None:
    plan = plan_for(generator, 1)
    stale = even_plan(TOLD, 1, replace(plan.settings, revision="sha256:other"), 0)
    with pytest.raises(ModelError, match="made for"):
        LocalEngine(generator=generator).fill(stale, SyntheticStore(tmp_path))


def test_images_are_stored_at_the_size_that_is_trained_on(generator: Generator, tmp_path: Path) -> None:
    plan, store = plan_for(generator, 2, stored_size=16), SyntheticStore(tmp_path)
    LocalEngine(generator=generator).fill(plan, store)
    assert {i.pixels().shape for i in store.read(plan.keys)} == {(16, 16, 3)}


def test_other_pipelines_run_as_their_authors_meant(tiny_checkpoint: Path, tmp_path: Path) -> None:
    """A subclass is another pipeline: it goes through its own call, with a noise generator for each image."""
    own = Generator.load(str(tiny_checkpoint), device="cpu", precision="float32")
    plan = plan_for(own, 20, negative_prompt="a heart")
    expected = pixels_of(own, plan)

    class OtherPipeline(diffusers.StableDiffusionPipeline):
        pass

    own.pipeline = OtherPipeline(**own.pipeline.components, requires_safety_checker=False)
    store = SyntheticStore(tmp_path)
    LocalEngine(generator=own, batch_size=7).fill(plan, store)
    drawn = {i.key: i.pixels().transpose(2, 0, 1).astype(int) for i in store.read(plan.keys)}
    assert max(np.abs(drawn[k] - e).max() for k, e in zip(plan.keys, expected, strict=True)) <= 1


def test_schedulers_that_add_noise_take_it_from_the_images_own_generator(tmp_path: Path) -> None:
    folder = save_text_to_image(tmp_path / "sde", scheduler="EulerAncestralDiscreteScheduler")
    noisy = Generator.load(str(folder), device="cpu", precision="float32")
    plan = plan_for(noisy, 3, steps=3)
    together = pixels_of(noisy, plan, rows=8)
    alone = np.concatenate([pixels_of(noisy, plan.select([k]), rows=8) for k in plan.keys])
    assert np.array_equal(together, alone)


def test_windows_keep_few_prompts_encoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "PROMPTS_IN_MEMORY", 4)
    card = GeneratorCard("m", "r", "StableDiffusionPipeline", "DDIMScheduler", 1, 1.0, 32, Path("/nowhere"))
    told = [Told(f"prompt {n}", "star") for n in range(8)]
    plan = even_plan(told, 20, SamplingSettings.of(card), 0)
    parts = list(windows(plan.images))
    assert [len({i.prompt for i in part}) for part in parts] == [3, 3, 2]
    assert sorted(i.key for part in parts for i in part) == sorted(plan.keys)


class JealousTokenizer(CLIPTokenizer):
    """Has state while it is called, as the fast tokenizers have: two threads must never call one."""

    def __call__(self, *given: Any, **options: Any) -> Any:
        assert not getattr(self, "busy", False), "shared between threads"
        self.busy = True
        time.sleep(0.02)
        try:
            return super().__call__(*given, **options)
        finally:
            self.busy = False


class Called(diffusers.StableDiffusionPipeline):
    """Not run in our own loop."""


def test_replicas_share_weights_and_nothing_with_state(
    tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = Generator.load(str(tiny_checkpoint), device="cpu", precision="float32")
    tokenizer = JealousTokenizer.from_pretrained(tiny_checkpoint / "tokenizer")
    own.pipeline = Called(**own.pipeline.components | {"tokenizer": tokenizer}, requires_safety_checker=False)
    own.pipeline.set_progress_bar_config(disable=True)
    told = [Told("star", "star"), Told("a sketch of the star of the heart", "star"), Told("a circle", "circle")]
    plan = plan_for(own, 16, told)
    digests = set()
    for replicas in (1, 2):
        monkeypatch.setattr(engines, "replicas_for", lambda _, n=replicas: n)
        store = SyntheticStore(tmp_path / str(replicas))
        LocalEngine(generator=own, batch_size=8).fill(plan, store)
        digests.add(store.digest(plan))
    assert len(digests) == 1
    one, two = (Sampler(PromptCache(own, plan.settings), 1) for _ in range(2))
    for name in ("tokenizer", "scheduler", "image_processor"):
        assert getattr(one.pipeline, name) is not getattr(two.pipeline, name)
    assert one.pipeline.unet is two.pipeline.unet
    one.pipeline.image_processor.postprocess(torch.full((1, 3, 8, 8), torch.inf), "pt")
    assert one._finite is not None
    assert two._finite is None  # what one replica drew says nothing of the other's
