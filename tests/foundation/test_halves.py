"""Generators of two checkpoints: a decoder, whose model card names the prior; they draw what diffusers' own draw."""

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch
from safetensors.torch import load_file, save_file

from fgl_flower.config import RunConfig
from fgl_flower.errors import ModelError
from fgl_flower.foundation.capabilities import capabilities_of
from fgl_flower.foundation.generator import Generator, inspect
from fgl_flower.foundation.parameters import pipeline_parameters
from fgl_flower.synthesis.generator_checks import check_generator
from fgl_flower.synthesis.plan import PlannedImage
from fgl_flower.synthesis.prompt_cache import PromptCache
from fgl_flower.synthesis.sampler import Sampler
from fgl_flower.synthesis.settings import SamplingSettings
from tests.plans import Told, even_plan
from tests.tiny_families import save_family


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_family("kandinsky-2.2", tmp_path_factory.mktemp("halves") / "kandinsky")


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    return shutil.copytree(made, tmp_path / "kandinsky")


def card_of(prior: str) -> str:
    return f"---\nlicense: apache-2.0\nprior:\n- {prior}\n---\n# A decoder\n"


def refused(generator: Path | str) -> str:
    with pytest.raises(ModelError) as caught:
        check_generator(RunConfig(generator=str(generator)))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def combined(made: Path) -> Any:
    import diffusers

    load = diffusers.DiffusionPipeline.from_pretrained
    decoder, prior = load(made), load(made / "its-prior")
    parts = {f"prior_{name}": part for name, part in prior.components.items()}
    return diffusers.KandinskyV22CombinedPipeline(**decoder.components, **parts)


def drawn_by(folder: Path, settings: SamplingSettings, images: Sequence[PlannedImage]) -> torch.Tensor:
    prompts = PromptCache(Generator.load(str(folder), device="cpu", precision="float32"), settings)
    return Sampler(prompts, 2).draw(images).pixels


@pytest.mark.parametrize("negative", ["", "a heart"])
def test_images_are_those_of_diffusers_own_combined_pipeline(made: Path, negative: str) -> None:
    whole = combined(made)
    whole.set_progress_bar_config(disable=True)
    settings = SamplingSettings.of(inspect(str(made)), guidance=3.0, negative_prompt=negative)
    [image] = even_plan([Told("a photo of a star", "star")], 1, settings).images
    expected = whole(
        [image.prompt],
        negative_prompt=[negative] if negative else None,
        num_inference_steps=2,
        guidance_scale=3.0,
        height=32,
        width=32,
        generator=[torch.Generator().manual_seed(image.seed) for _ in range(2 if negative else 1)],
        output_type="np",
    ).images
    drawn = drawn_by(made, settings, [image])
    assert drawn.permute(0, 2, 3, 1).tolist() == (torch.from_numpy(expected) * 255).round().to(torch.uint8).tolist()


def test_both_saved_in_one_folder_draw_the_same(made: Path, tmp_path: Path) -> None:
    combined(made).save_pretrained(tmp_path / "whole")
    check_generator(RunConfig(generator=str(tmp_path / "whole")))
    card = inspect(str(tmp_path / "whole"))
    assert capabilities_of(card) == capabilities_of(inspect(str(made)))
    drawn = []
    for folder in (tmp_path / "whole", made):
        settings = SamplingSettings.of(inspect(str(folder)), steps=2, size=32)
        images = even_plan([Told("a photo of a star", "star")], 3, settings).images
        seeded = [replace(image, seed=number) for number, image in enumerate(images)]
        drawn.append(drawn_by(folder, settings, seeded))
    assert torch.equal(*drawn)


def test_a_negative_prompt_acts_without_guidance_by_the_prior(made: Path) -> None:
    card = inspect(str(made))
    assert (card.pipeline, card.size, card.prior) == ("KandinskyV22CombinedPipeline", 32, made / "its-prior")
    takes = capabilities_of(card)
    assert (takes.guidance, takes.negative_prompt) == ("classifier-free", "always")
    plain = SamplingSettings.of(card, guidance=1)
    assert SamplingSettings.of(card, guidance=1, negative_prompt="a heart") != plain


def test_another_prior_is_another_generator_wherever_it_lies(folder: Path, tmp_path: Path) -> None:
    before = inspect(str(folder)).revision
    [weights] = (folder / "its-prior" / "prior").glob("*.safetensors")
    save_file({name: tensor + 1 for name, tensor in load_file(weights).items()}, weights)
    after = inspect(str(folder)).revision
    assert after != before
    (folder / "its-prior").rename(tmp_path / "elsewhere")
    (folder / "README.md").write_text(card_of(str(tmp_path / "elsewhere")), encoding="utf-8")
    check_generator(RunConfig(generator=str(folder)))
    assert inspect(str(folder)).prior == tmp_path / "elsewhere"


@pytest.mark.parametrize("text", [None, "A decoder.\n", "---\nlicense: mit\n---\n", "---\n: :\n---"])
def test_without_a_named_prior_the_sentence_says_how_to_name_one(folder: Path, text: str | None) -> None:
    (folder / "README.md").unlink()
    if text is not None:
        (folder / "README.md").write_text(text, encoding="utf-8")
    assert "its model card names no prior: begin README.md" in refused(folder)


def test_a_prior_that_is_not_there_or_not_whole_is_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    [weights] = (folder / "its-prior" / "text_encoder").glob("*.safetensors")
    weights.unlink()
    lacking = f"is not complete: of its prior {str(folder / 'its-prior')!r}, its 'text_encoder' has no weight file"
    assert lacking in refused(folder)
    (folder / "README.md").write_text(card_of("owner/prior"), encoding="utf-8")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    assert "no generator 'owner/prior': it is not cached on this machine" in refused(folder)


def test_both_halves_count_as_the_generators_weights(made: Path) -> None:
    counted = pipeline_parameters(inspect(str(made)).folders)
    assert set(counted) == {"unet", "movq", "prior", "text_encoder", "image_encoder"}


def test_the_prior_alone_is_refused(made: Path) -> None:
    assert "KandinskyV22PriorPipeline is one half of a pipeline" in refused(made / "its-prior")


def test_a_decoder_of_the_hub_is_fetched_with_its_card_and_the_prior(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import diffusers

    places = {"owner/decoder": tmp_path / "a" / "0123abc", "owner/prior": tmp_path / "b" / "4567def"}
    for name, place in places.items():
        shutil.copytree(folder if name == "owner/decoder" else folder / "its-prior", place)
    shutil.rmtree(places["owner/decoder"] / "its-prior")
    readme = places["owner/decoder"] / "README.md"
    readme.unlink()  # diffusers' own download leaves it out
    asked: list[str] = []

    def download(name: str, *, local_files_only: bool = False, **options: Any) -> str:
        asked.append(name)
        if local_files_only and name not in asked[:-1]:
            raise OSError("nothing is cached")
        return str(places[name])

    def fetch(name: str, file: str, **options: Any) -> str:
        if file == "README.md":
            readme.write_text(card_of("owner/prior"), encoding="utf-8")
        return str(places[name] / file)

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", fetch)
    monkeypatch.setattr(diffusers.DiffusionPipeline, "download", download)
    card = inspect("owner/decoder")
    assert (card.id, card.revision) == ("owner/decoder", "0123abc+4567def")
    assert set(asked) == set(places)
    check_generator(RunConfig(generator="owner/decoder"))
