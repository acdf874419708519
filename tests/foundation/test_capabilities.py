"""What a generator can take is decided from its configuration files: the folders here hold no weights."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch
from huggingface_hub import errors

from fgl_flower.config import RunConfig
from fgl_flower.errors import ModelError
from fgl_flower.foundation import capabilities
from fgl_flower.foundation.capabilities import PLAIN, capabilities_of
from fgl_flower.foundation.captioner import captioner_folder
from fgl_flower.foundation.checkpoints import missing_part
from fgl_flower.foundation.generator import Generator, inspect
from fgl_flower.foundation.inversion import encode_images
from fgl_flower.synthesis.generator_checks import check_generator, notes
from fgl_flower.synthesis.settings import SamplingSettings
from strategies import planning
from strategies.planning import limits_for

WEIGHTS = "diffusion_pytorch_model.safetensors"


class OwnNoise:
    """A generator of a user's own."""

    revision, size = "1", 32

    def draw(self, prompts: Any, seeds: Any) -> torch.Tensor:
        return torch.zeros(len(seeds), 3, 32, 32)


Make = Callable[..., Path]


@pytest.fixture
def made(tmp_path: Path) -> Make:
    """Return a function that writes a checkpoint's configuration files, without weights."""

    def make(
        pipeline: Any, scheduler: str = "DDIMScheduler", index: Any = None, solver: Any = None, **parts: Any
    ) -> Path:
        folder = tmp_path / "made"
        listed = {name: ["diffusers", "Model"] for name in parts} | {"scheduler": ["diffusers", scheduler]}
        for name, config in {**parts, "scheduler": {"_class_name": scheduler, **(solver or {})}}.items():
            (folder / name).mkdir(parents=True)
            file = "scheduler_config.json" if name == "scheduler" else "config.json"
            (folder / name / file).write_text(json.dumps(config))
        (folder / "model_index.json").write_text(json.dumps({"_class_name": pipeline, **listed, **(index or {})}))
        return folder

    return make


def configured(folder: Path | str, **keys: Any) -> RunConfig:
    return RunConfig(generator=str(folder), device="cpu", synthesis_precision="float32", **keys)


def refused(folder: Path | str, **keys: Any) -> str:
    """Return the sentence of a refusal."""
    with pytest.raises(ModelError) as caught:
        check_generator(configured(folder, **keys))
    assert "\n" not in str(caught.value)
    return str(caught.value)


FAMILIES: dict[str, tuple[Any, ...]] = {
    "sd3": ("StableDiffusion3Pipeline", "FlowMatchEulerDiscreteScheduler", {"transformer": {}}),
    "sana": ("SanaPipeline", "DPMSolverMultistepScheduler", {"solver": {"prediction_type": "flow_prediction"}}),
    "flux-dev": ("FluxPipeline", "FlowMatchEulerDiscreteScheduler", {"transformer": {"guidance_embeds": True}}),
    "schnell": ("FluxPipeline", "FlowMatchEulerDiscreteScheduler", {"transformer": {"guidance_embeds": False}}),
    "lcm": ("LatentConsistencyModelPipeline", "LCMScheduler", {"unet": {"time_cond_proj_dim": 256}}),
    "lcm-sd": (PLAIN, "DDIMScheduler", {"unet": {"time_cond_proj_dim": 256}}),
    "qwen": ("QwenImagePipeline", "FlowMatchEulerDiscreteScheduler", {"transformer": {"guidance_embeds": False}}),
    "klein": ("Flux2KleinPipeline", "FlowMatchEulerDiscreteScheduler", {"index": {"is_distilled": True}}),
    "sdxl": ("StableDiffusionXLPipeline", "EulerDiscreteScheduler", {"unet": {}}),
    "playground": ("StableDiffusionXLPipeline", "EDMDPMSolverMultistepScheduler", {"unet": {}}),
    "sd": (PLAIN, "PNDMScheduler", {"unet": {}}),
}


@pytest.mark.parametrize(
    ("family", "guidance", "negative", "solver", "interval"),
    [
        ("sd3", "classifier-free", "guided", "flow matching", False),
        ("sana", "classifier-free", "guided", "flow matching", False),
        ("flux-dev", "embedded", "never", "flow matching", False),
        ("schnell", "none", "never", "flow matching", False),
        ("lcm", "embedded", "never", "few steps", False),
        ("lcm-sd", "embedded", "never", "few steps", False),
        ("qwen", "classifier-free", "guided", "flow matching", False),
        ("klein", "none", "never", "flow matching", False),
        ("sdxl", "classifier-free", "guided", "", False),
        ("sd", "classifier-free", "guided", "", True),
    ],
)
def test_each_family_takes_what_acts_on_it(
    made: Make, family: str, guidance: str, negative: str, solver: str, interval: bool
) -> None:
    pipeline, scheduler, parts = FAMILIES[family]
    card = inspect(str(made(pipeline, scheduler, **parts)))
    takes = capabilities_of(card)
    assert (takes.guidance, takes.negative_prompt, takes.interval) == (guidance, negative, interval)
    assert solver in takes.solver
    assert bool(takes.solver) == bool(solver)

    def asked(**options: Any) -> str:
        try:
            SamplingSettings.of(card, **options)
        except ModelError as error:
            return str(error)
        return ""

    assert bool(asked(scheduler="euler")) == bool(solver)
    assert ("guidance = 5 has no effect" in asked(guidance=5.0)) == (guidance == "none")
    assert ("negative-prompt has no effect" in asked(negative_prompt="a heart")) == (negative == "never")
    assert ("guidance-until" in asked(guidance_until=0.5)) == (not interval)
    if guidance == "none":  # the default scale has no effect: one key for all of them
        assert SamplingSettings.of(card).guidance == 1.0
    assert SamplingSettings.of(card, guidance=0, **({} if negative == "never" else {"negative_prompt": "a heart"})) == (
        SamplingSettings.of(card, guidance=1, negative_prompt="a heart" if negative == "always" else "")
    )


def test_parameters_of_stable_diffusion_are_diffusers_own() -> None:
    found = capabilities.call_parameters(PLAIN)
    assert found is not None
    assert set(capabilities._PLAIN_PARAMETERS) <= set(found)


@pytest.mark.parametrize(
    ("pipeline", "index", "what"),
    [
        ("StableDiffusionImg2ImgPipeline", {}, "image-to-image"),
        ("StableDiffusionInpaintPipeline", {}, "inpainting"),
        ("StableDiffusionXLImg2ImgPipeline", {"requires_aesthetics_score": True}, "refiner"),
        ("StableDiffusionControlNetPipeline", {}, "control image"),
        ("DDPMPipeline", {}, "unconditional"),
        ("DiTPipeline", {}, "unconditional"),
        ("WanPipeline", {}, "videos"),
        ("StableVideoDiffusionPipeline", {}, "videos"),
        ("StableAudioPipeline", {}, "sound"),
        ("KandinskyPriorPipeline", {}, "one half"),
        ("KandinskyPipeline", {}, "image_embeds"),
        ("StableCascadeCombinedPipeline", {}, "two halves"),
        ("NoSuchPipeline", {}, "update"),
        (["pipeline", "OwnPipeline"], {}, "code of its own"),
    ],
)
def test_other_kinds_of_pipelines_are_refused_by_name(made: Make, pipeline: Any, index: dict, what: str) -> None:
    assert what in refused(made(pipeline, index=index))


def test_an_inpainting_denoiser_under_the_plain_name_is_refused(made: Make) -> None:
    folder = made(PLAIN, unet={"in_channels": 9}, vae={"latent_channels": 4})
    assert "9 channels" in refused(folder)


@pytest.mark.parametrize(
    ("family", "level", "working"),
    [
        ("lcm-sd", "tokens", "names, class, class-style, instance, votes or auto"),
        ("lcm-sd", "embeddings", "names, class, class-style, instance, votes or auto"),
        ("flux-dev", "tokens", "names, class, class-style, instance, embeddings, votes or auto"),
        ("playground", "tokens", "names, class, class-style, instance, embeddings, votes or auto"),
    ],
)
def test_levels_that_need_clip_name_those_that_do_not(made: Make, family: str, level: str, working: str) -> None:
    pipeline, scheduler, parts = FAMILIES[family]
    folder = made(pipeline, scheduler, **parts)
    for name in parts:
        (folder / name / WEIGHTS).touch()
    assert working in refused(folder, prompt_level=level)
    check_generator(configured(folder, prompt_level="class"))


def test_another_text_encoder_is_no_clip(made: Make) -> None:
    folder = made(PLAIN, text_encoder={"model_type": "t5"})
    (folder / "text_encoder" / "model.safetensors").touch()
    assert "CLIP" in refused(folder, prompt_level="tokens")


def test_a_generator_of_ones_own_skips_all_but_levels_and_intervals() -> None:
    own = f"{__name__}:OwnNoise"
    given: dict[str, Any] = {"scheduler": "ddim", "guidance": 5.0, "steps": 9, "negative_prompt": "x"}
    check_generator(configured(own, **given))
    assert SamplingSettings.of(inspect(own), **given) == SamplingSettings.of(inspect(own))
    told = " ".join(notes(configured(own, **given)))
    assert all(key in told for key in ("scheduler", "guidance", "steps", "negative-prompt"))
    assert "guidance-until" in refused(own, guidance_until=0.5)
    assert "class-style, instance, votes or auto" in refused(own, prompt_level="embeddings")


@pytest.mark.parametrize(
    ("files", "lack"),
    [
        ([], "no weight file"),
        ([WEIGHTS], ""),
        (["diffusion_pytorch_model.bin"], ""),
        (["diffusion_pytorch_model.fp16.safetensors"], ""),
        (["diffusion_pytorch_model-00001-of-00002.safetensors"], "00002-of-00002"),
        ([f"diffusion_pytorch_model-0000{n}-of-00002.safetensors" for n in (1, 2)], ""),
        (["flax_model.msgpack"], "no weight file"),
    ],
)
def test_what_an_interrupted_download_lacks_is_told(made: Make, files: list[str], lack: str) -> None:
    folder = made(PLAIN, unet={"in_channels": 4})
    for name in files:
        (folder / "unet" / name).touch()
    if any("-of-" in name for name in files):
        shards = {f"w{n}": f"diffusion_pytorch_model-0000{n}-of-00002.safetensors" for n in (1, 2)}
        (folder / "unet" / f"{WEIGHTS}.index.json").write_text(json.dumps({"weight_map": shards}))
    assert (lack in missing_part((folder,))) if lack else (missing_part((folder,)) == "")
    if lack:
        assert "copy it again" in refused(folder)
    else:
        check_generator(configured(folder))


def test_components_of_a_base_are_none_that_lack() -> None:
    assert missing_part(inspect("miniature-fast").folders) == ""


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("pytorch_lora_weights.safetensors", "LoRA"),
        ("adapter_config.json", "LoRA"),
        ("learned_embeds.safetensors", "textual inversion"),
        ("learned_embeds.bin", "textual inversion"),
        ("modular_model_index.json", "modular"),
        ("config.json", "component"),
        ("v1-5.ckpt", "single-file"),
        ("notes.md", "model_index.json"),
    ],
)
def test_folders_of_other_things_are_told_apart(tmp_path: Path, name: str, what: str) -> None:
    (tmp_path / name).write_text("{}")
    assert what in refused(tmp_path)


def test_paths_that_are_no_folder_never_reach_the_hub(tmp_path: Path) -> None:
    (tmp_path / "model.ckpt").touch()
    assert "a pickle may run code" in refused(tmp_path / "model.ckpt")
    assert "no such folder" in refused(tmp_path / "nothing")
    assert "no such folder" in refused("models/missing.ckpt")


def _answer(kind: type[errors.HfHubHTTPError]) -> errors.HfHubHTTPError:
    request = httpx.Request("GET", "https://hub.invalid")
    return kind("a long\nstory", response=httpx.Response(404, request=request))


def _unreachable() -> Exception:
    error = errors.LocalEntryNotFoundError("not cached")
    error.__cause__ = httpx.ConnectError("refused")
    return error


HUB = [
    (lambda: _answer(errors.GatedRepoError), "log in"),
    (lambda: _answer(errors.RepositoryNotFoundError), "none of this name"),
    (lambda: _answer(errors.RevisionNotFoundError), "no such revision"),
    (lambda: _answer(errors.RemoteEntryNotFoundError), "of another kind"),
    (lambda: errors.OfflineModeIsEnabled("offline"), "HF_HUB_OFFLINE"),
    (_unreachable, "cannot be reached"),
    (lambda: httpx.ReadTimeout("late"), "cannot be reached"),
    (lambda: errors.HFValidationError("bad"), "of the form of a hub id"),
    (lambda: OSError(28, "No space left on device"), "no space left"),
    (lambda: RuntimeError("odd"), "RuntimeError: odd"),
]


@pytest.mark.parametrize(("error", "sentence"), HUB)
def test_what_the_hub_refuses_has_a_sentence_of_its_own(
    error: Callable[[], Exception], sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import diffusers
    import huggingface_hub

    def download(*args: object, local_files_only: bool = False, **options: object) -> str:
        raise errors.LocalEntryNotFoundError("not cached") if local_files_only else error()

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(diffusers.DiffusionPipeline, "download", download)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    for find, role in ((inspect, "generator"), (captioner_folder, "captioner")):
        with pytest.raises(ModelError, match=sentence) as caught:
            find("owner/name", "v9")
        assert f"no {role} 'owner/name' at revision 'v9'" in str(caught.value)
        assert "\n" not in str(caught.value)


def test_an_interrupted_snapshot_is_completed_and_other_kinds_are_not_fetched(
    made: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    import diffusers
    import huggingface_hub

    folder, fetched = made(PLAIN, unet={}), []

    def download(*args: object, local_files_only: bool = False, **options: object) -> str:
        if not local_files_only:
            fetched.append(args)
            (folder / "unet" / WEIGHTS).touch()
        return str(folder)

    monkeypatch.setattr(diffusers.DiffusionPipeline, "download", download)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", lambda *a, **o: str(folder / "model_index.json"))
    for _ in range(2):
        check_generator(configured("owner/name"))
    assert len(fetched) == 1  # whole after the first

    (folder / "unet" / WEIGHTS).unlink()
    (folder / "model_index.json").write_text(json.dumps({"_class_name": "WanPipeline", "unet": ["diffusers", "Model"]}))
    assert "videos" in refused("owner/name")
    assert len(fetched) == 1


def test_a_generator_much_smaller_than_the_learners_images_is_noted() -> None:
    (note,) = notes(configured("miniature-fast", image_size=224))
    assert "draws 32 px, the learner takes 224 px" in note
    assert notes(configured("miniature-fast", image_size=32)) == []


def test_settings_without_effect_are_noted() -> None:
    told = notes(configured("miniature-fast", guidance=1.0, negative_prompt="a heart", guidance_until=0.5))
    assert [note.split(" has")[0].split(" have")[0] for note in told] == [
        "negative-prompt",
        "guidance-from and guidance-until",
    ]


def test_images_are_encoded_a_few_pixels_at_a_time(tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = Generator.load(str(tiny_checkpoint), device="cpu", precision="float32")
    pixels = torch.randint(0, 256, (7, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    whole, calls = encode_images(loaded, pixels), []
    encode = loaded.pipeline.vae.encode
    monkeypatch.setattr(loaded.pipeline.vae, "encode", lambda x: calls.append(len(x)) or encode(x))
    monkeypatch.setattr("fgl_flower.foundation.inversion.ENCODED_PIXELS_PER_CALL", 3 * 32 * 32)
    torch.testing.assert_close(encode_images(loaded, pixels), whole)
    assert calls == [3, 3, 1]
    calls.clear()
    monkeypatch.setattr("fgl_flower.foundation.inversion.ENCODED_PIXELS_PER_CALL", 100)
    encode_images(loaded, pixels)
    assert calls == [1] * 7  # one image is always encoded


class _Data:
    classes = tuple(f"class {n}" for n in range(200))
    domains = ("photo", "sketch")


@pytest.fixture
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    """200 classes and 2 styles for a text encoder of 77 x 768."""
    limits = planning.Limits(embedding=(77, 768), token_width=768)
    monkeypatch.setattr(planning, "_limits", lambda *key: planning.replace(limits, kind=key[1]))
    monkeypatch.setattr(planning, "load_source", lambda config: _Data)


@pytest.mark.parametrize(
    ("keys", "array_bytes", "prompts"),
    [
        # one embedding is 77 * 768 * 2 = 118,272 bytes
        ({"embedding_groups": "class", "embedding_clusters": 1}, 200 * 118_272, 5_000),
        ({"embedding_groups": "class", "embedding_clusters": 3}, 600 * 118_272, 5_000),
        (
            {"embedding_groups": "class-style", "embedding_clusters": 1},
            600 * 118_272,
            5_000,
        ),  # two styles, and images of none
        ({"embedding_clusters": 64}, 1_000 * 118_272, 5_000),  # of max-captions images come no more embeddings
        ({"embedding_clusters": 64, "max_captions": 50_000}, 38_400 * 118_272, 38_400),
        ({"embedding_groups": "class", "max_captions": 10}, 16 * 1024**2, 5_000),  # never below the usual bound
    ],
)
def test_limits_follow_what_embeddings_may_take(wide: None, keys: dict, array_bytes: int, prompts: int) -> None:
    found = limits_for(configured("miniature", prompt_level="embeddings", **keys))
    assert (found.array_bytes, found.prompts) == (array_bytes, prompts)


def test_limits_follow_what_tokens_may_take(wide: None, monkeypatch: pytest.MonkeyPatch) -> None:
    # 16 vectors of 768 float16 are 24,576 bytes, and a file's header at most 1,024
    few = limits_for(configured("miniature", prompt_level="tokens", token_vectors=16))
    assert few.array_bytes == 16 * 1024**2  # 200 * 25,600 is less
    monkeypatch.setattr(_Data, "classes", tuple(map(str, range(1_000))))
    many = limits_for(configured("miniature", prompt_level="tokens", token_vectors=16))
    assert many.array_bytes == 1_000 * 25_600
    styles = limits_for(configured("miniature", prompt_level="tokens", token_vectors=16, token_subject="style"))
    assert styles.array_bytes == 16 * 1024**2
