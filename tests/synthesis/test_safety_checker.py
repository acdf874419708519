"""Images that a generator's safety checker blanks: drawn again with another seed, counted, never stored."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from fgl_flower.config import RunConfig
from fgl_flower.foundation.generator import Generator, inspect
from fgl_flower.learning.images import Images
from fgl_flower.synthesis import maintenance
from fgl_flower.synthesis.engine import LocalEngine, SynthesisEngine
from fgl_flower.synthesis.generator_checks import check_generator, notes
from fgl_flower.synthesis.plan import SynthesisPlan, with_another_seed
from fgl_flower.synthesis.prompt_cache import PromptCache
from fgl_flower.synthesis.ray_engine import RayEngine
from fgl_flower.synthesis.sampler import ATTEMPTS, Sampler
from fgl_flower.synthesis.settings import SamplingSettings, settings_for
from fgl_flower.synthesis.store import SyntheticStore
from fgl_flower.synthesis.tuning import prepare, rows_for
from strategies.synthesis import Synthesis
from tests.plans import Told, even_plan
from tests.tiny_models import save_safety_checker

TOLD = [Told("a photo of a star", "star"), Told("a photo of a circle", "circle")]
IMAGES = 12


def similarities(generator: Generator, pixels: torch.Tensor) -> np.ndarray:
    """Return the cosine of each (N, 3, 32, 32) uint8 image to the checker's one concept, by the definition."""
    pipeline, checker = generator.pipeline, generator.pipeline.safety_checker
    arrays = list(pixels.permute(0, 2, 3, 1).numpy())
    with torch.no_grad():
        pooled = checker.vision_model(pipeline.feature_extractor(arrays, return_tensors="pt").pixel_values)[1]
        embedded = checker.visual_projection(pooled)
    return torch.nn.functional.cosine_similarity(embedded, checker.concept_embeds[:1]).numpy()


@pytest.fixture(scope="module")
def checked(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint whose checker blanks about a third of the images that it draws."""
    folder = shutil.copytree(tiny_checkpoint, tmp_path_factory.mktemp("checked") / "tiny")
    save_safety_checker(folder, passes=1.0)  # all
    plan = plan_of(folder)
    drawn = draw(folder, plan)
    scores = similarities(Generator.load(str(folder), device="cpu", precision="float32", safety_checker=True), drawn)
    return save_safety_checker(folder, passes=float(np.quantile(scores, 0.67)))


def plan_of(folder: Path, *, on: bool = True) -> SynthesisPlan:
    return even_plan(TOLD, IMAGES, SamplingSettings.of(inspect(str(folder)), safety_checker=on))


def draw(folder: Path, plan: SynthesisPlan) -> torch.Tensor:
    """Return a plan's images, (N, 3, 32, 32) uint8, as drawn without a checker."""
    generator = Generator.load(str(folder), device="cpu", precision="float32")
    prepare(generator)
    prompts = PromptCache(generator, SamplingSettings.of(generator.card))
    prompts.encode([image.prompt for image in plan.images])
    return Sampler(prompts, rows_for(prompts, plan.images[0])).draw(plan.images).pixels


def stored(store: SyntheticStore, plan: SynthesisPlan) -> torch.Tensor:
    images: Images = store.images(plan, 32, ["star", "circle"])
    return images.pixels


@pytest.mark.parametrize("engine", [LocalEngine, RayEngine])
def test_blanked_images_are_drawn_again_with_seeds_of_their_own(
    engine: type, checked: Path, tmp_path: Path, one_thread: None
) -> None:
    plan, store = plan_of(checked), SyntheticStore(tmp_path)
    drawing: SynthesisEngine = engine(str(checked), device="cpu")
    report = drawing.fill(plan, store)
    generator = Generator.load(str(checked), device="cpu", precision="float32", safety_checker=True)
    threshold = float(generator.pipeline.safety_checker.concept_embeds_weights[0])

    # By the definition: of each image the first of the planned seed and its successors that is below the threshold.
    candidates = [draw(checked, plan)]
    for attempt in range(1, ATTEMPTS + 1):
        again = SynthesisPlan(plan.settings, tuple(with_another_seed(image, attempt) for image in plan.images))
        candidates.append(draw(checked, again))
    passes = np.stack([similarities(generator, pixels) <= threshold for pixels in candidates])  # (attempts + 1, N)
    first = passes.argmax(0)
    assert passes.any(0).all()
    redrawn = int(first.sum())
    expected = torch.stack([candidates[attempt][i] for i, attempt in enumerate(first)])
    assert 0 < redrawn < ATTEMPTS * len(plan)
    assert (report.redrawn, report.blanked, report.drawn) == (redrawn, (), len(plan))
    assert torch.equal(stored(store, plan), expected)
    assert maintenance.verify(store.path).problems == []


def test_the_pipelines_own_call_says_the_same(checked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = plan_of(checked)
    reports, digests = [], []
    for fast in (True, False):
        if not fast:
            monkeypatch.setattr("fgl_flower.synthesis.sampler.fast_path", lambda generator: False)
            monkeypatch.setattr("fgl_flower.synthesis.tuning.fast_path", lambda generator: False)
        store = SyntheticStore(tmp_path / str(fast))
        reports.append(LocalEngine(str(checked), device="cpu").fill(plan, store))
        digests.append(stored(store, plan))
    assert reports[0].redrawn == reports[1].redrawn > 0
    assert (digests[0].int() - digests[1].int()).abs().max() <= 1  # not blackened


def test_keys_are_others_only_where_a_checker_is_asked(checked: Path, tiny_checkpoint: Path) -> None:
    on, off = plan_of(checked), plan_of(checked, on=False)
    assert not set(on.keys) & set(off.keys)
    assert "safety" not in off.settings.to_json()
    assert plan_of(tiny_checkpoint).keys == plan_of(tiny_checkpoint, on=False).keys
    config = RunConfig(generator=str(checked), device="cpu", synthesis_precision="float32")
    assert settings_for(config).safety_checker  # by default
    assert not settings_for(config.model_copy(update={"safety_checker": False})).safety_checker


@pytest.fixture
def strict(checked: Path, tmp_path: Path) -> Path:
    """The same with a checker that blanks everything."""
    return save_safety_checker(shutil.copytree(checked, tmp_path / "strict"), passes=-1.0)


def test_what_is_blanked_every_time_is_left_out_and_told(
    checked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fgl_flower.synthesis.sampler.ATTEMPTS", 0)
    plan = plan_of(checked)
    config = RunConfig(generator=str(checked), device="cpu", synthesis_precision="float32", image_size=32)
    told: list[str] = []
    synthesis = Synthesis(config, ["star", "circle"], [], SyntheticStore(tmp_path / "store"), warn=told.append)
    monkeypatch.setattr("strategies.synthesis.plan_for", lambda *given: plan)
    images = synthesis.draw([])
    assert synthesis.report is not None
    left = len(synthesis.report.blanked)
    assert 0 < left < len(plan)
    assert (len(images), synthesis.figures()["synthetic_images"]) == (len(plan) - left, len(plan) - left)
    assert not set(synthesis.report.blanked) & set(SyntheticStore(tmp_path / "store").keys())
    assert isinstance(synthesis.engine, LocalEngine)
    assert synthesis.engine.generator is None  # no other prompt round needs it


def test_a_checker_that_blanks_everything_ends_the_run_in_a_sentence(
    strict: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fgl_flower.errors import RunError

    plan = plan_of(strict)
    report = LocalEngine(str(strict), device="cpu").fill(plan, SyntheticStore(tmp_path / "a"))
    assert (report.drawn, report.redrawn, set(report.blanked)) == (0, ATTEMPTS * len(plan), set(plan.keys))
    monkeypatch.setattr("strategies.synthesis.plan_for", lambda *given: plan)
    config = RunConfig(generator=str(strict), device="cpu", synthesis_precision="float32", image_size=32)
    with pytest.raises(RunError, match="blanked every image"):
        Synthesis(config, ["star", "circle"], [], SyntheticStore(tmp_path / "b")).draw([])


def test_a_checker_without_weights_is_noted_and_not_asked(checked: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(checked, tmp_path / "without")
    shutil.rmtree(folder / "safety_checker")
    config = RunConfig(generator=str(folder), device="cpu", synthesis_precision="float32", image_size=32)
    check_generator(config)
    assert any("safety checker whose weights are not there" in note for note in notes(config))
    assert not any("safety" in note for note in notes(config.model_copy(update={"safety_checker": False})))
    assert not settings_for(config).safety_checker
    plan = even_plan(TOLD, 2, settings_for(config))
    report = LocalEngine(str(folder), device="cpu").fill(plan, SyntheticStore(tmp_path / "store"))
    assert (report.drawn, report.redrawn) == (4, 0)


def test_a_pipeline_without_a_checker_has_no_note(tiny_checkpoint: Path) -> None:
    index = json.loads((tiny_checkpoint / "model_index.json").read_text())
    assert index["safety_checker"] == [None, None]
    assert notes(RunConfig(generator=str(tiny_checkpoint), image_size=32)) == []
