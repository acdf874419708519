"""Tiny random-weight checkpoints in the library's own formats, for tests that load what a hub id would load."""

import json
import shutil
from pathlib import Path

import torch

STYLES = ["sketch", "photo", "painting", "clipart", "quickdraw", "infograph"]
WORDS = ["a", "of", "the", *STYLES, "star", "circle", "square", "triangle", "cross", "heart"]


def save_tokenizer(folder: Path, *, length: int = 16, words: list[str] = WORDS) -> None:
    """Write the vocabulary of a word-level `CLIPTokenizer` (one token a word, `length` tokens a prompt).

    Parameters
    ----------
    folder : Path
        Receives vocab.json, merges.txt and the tokenizer's configuration.
    length : int
        Tokens of a prompt, start and end tokens included.
    words : list of str
        The words that get a token of their own; a merge for each pair of neighbouring pieces builds them up.
    """
    from transformers import CLIPTokenizer

    letters = [chr(code) for code in range(97, 123)]
    pieces = [*letters, *[f"{letter}</w>" for letter in letters]]
    merges: list[str] = []
    for word in words:
        head = word[0] if len(word) > 1 else f"{word}</w>"
        for position, letter in enumerate(word[1:], start=1):
            tail = f"{letter}</w>" if position == len(word) - 1 else letter
            merge = f"{head} {tail}"
            head += tail
            if merge not in merges:
                merges.append(merge)
                pieces.append(head)
    vocabulary = {token: index for index, token in enumerate([*pieces, "<|startoftext|>", "<|endoftext|>"])}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps(vocabulary), encoding="utf-8")
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n", encoding="utf-8")
    tokenizer = CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=length)
    tokenizer.save_pretrained(folder)


def save_text_to_image(
    folder: Path,
    *,
    scheduler: str = "DDIMScheduler",
    width: int = 16,
    text_width: int = 32,
    defaults: dict | None = None,
    seed: int = 0,
) -> Path:
    """Save a random-weight `StableDiffusionPipeline` that draws 32x32 images and return its folder.

    Parameters
    ----------
    folder : Path
        Where `save_pretrained` writes; fp32 safetensors.
    scheduler : str
        diffusers' class name of the scheduler (v-prediction, scaled-linear betas).
    width : int
        Channels of the UNet's first block; a multiple of 8.
    text_width : int
        Width of the text encoder; a multiple of 8.
    defaults : dict, optional
        Written as fgl.json when given, e.g. ``{"steps": 4, "guidance": 1.0, "size": 32}``.
    seed : int
        Seed of the weights.
    """
    import diffusers
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    torch.manual_seed(seed)
    save_tokenizer(folder / "tokenizer")
    tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer")
    text_encoder = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=text_width,
            intermediate_size=2 * text_width,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=tokenizer.model_max_length,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )
    vae = diffusers.AutoencoderKL(
        block_out_channels=(8, 8, 16),
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        latent_channels=4,
        norm_num_groups=4,
        sample_size=32,
        scaling_factor=1.0,
    )
    unet = diffusers.UNet2DConditionModel(
        sample_size=8,
        in_channels=4,
        out_channels=4,
        layers_per_block=1,
        block_out_channels=(width, 2 * width),
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=text_width,
        attention_head_dim=4,
        norm_num_groups=8,
    )
    pipeline = diffusers.StableDiffusionPipeline(
        vae=vae,
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        unet=unet,
        scheduler=getattr(diffusers, scheduler)(
            beta_schedule="scaled_linear",
            beta_start=0.00085,
            beta_end=0.012,
            prediction_type="v_prediction",
            timestep_spacing="trailing",
            steps_offset=1,
            **({"clip_sample": False} if scheduler == "DDIMScheduler" else {}),
        ),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.save_pretrained(folder, safe_serialization=True)
    if defaults is not None:
        (folder / "fgl.json").write_text(json.dumps(defaults), encoding="utf-8")
    return folder


def save_decoder_of_one_value(source: Path, folder: Path, value: float) -> Path:
    """Copy a checkpoint and let its decoder give one value everywhere: NaN, or -1 for black images."""
    from safetensors.torch import load_file, save_file

    shutil.copytree(source, folder)
    weights = folder / "vae" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(weights)
    tensors["decoder.conv_out.weight"].zero_()
    tensors["decoder.conv_out.bias"].fill_(value)
    save_file(tensors, weights, metadata={"format": "pt"})
    return folder


def save_safety_checker(folder: Path, *, passes: float, seed: int = 0) -> Path:
    """Give a `StableDiffusionPipeline`'s folder a random-weight safety checker with one concept.

    Parameters
    ----------
    folder : Path
        From `save_text_to_image`.
    passes : float
        Cosine similarity to the concept, in [-1, 1], above which an image is blanked.
    seed : int
        Of the weights.
    """
    from diffusers.pipelines.stable_diffusion import StableDiffusionSafetyChecker
    from transformers import CLIPConfig, CLIPImageProcessor

    torch.manual_seed(seed)
    tiny = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    vision = {**tiny, "image_size": 32, "patch_size": 8}
    checker = StableDiffusionSafetyChecker(CLIPConfig(text_config=tiny, vision_config=vision, projection_dim=8))
    torch.nn.init.normal_(checker.concept_embeds)
    checker.special_care_embeds_weights.fill_(2.0)  # no cosine is above it
    checker.concept_embeds_weights.fill_(2.0)
    checker.concept_embeds_weights[0] = passes
    checker.save_pretrained(folder / "safety_checker")
    CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=32).save_pretrained(folder / "feature_extractor")
    index = json.loads((folder / "model_index.json").read_text(encoding="utf-8"))
    index["safety_checker"] = ["stable_diffusion", "StableDiffusionSafetyChecker"]
    index["feature_extractor"] = ["transformers", "CLIPImageProcessor"]
    (folder / "model_index.json").write_text(json.dumps(index), encoding="utf-8")
    return folder
