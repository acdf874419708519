"""What a client has to download once before it can answer the prompt round."""

from pathlib import Path

from fgl_flower.config import RunConfig
from fgl_flower.errors import ModelError
from fgl_flower.extension_points import CAPTIONER
from fgl_flower.foundation.captioner import captioner_folder
from fgl_flower.foundation.generator import inspect
from fgl_flower.foundation.origin import Origin
from fgl_flower.foundation.text import text_folder
from fgl_flower.levels.image_features import encoder_folder
from fgl_flower.levels.level import level_of

_TEXT_PARTS = ("tokenizer", "text_encoder", "tokenizer_2", "text_encoder_2", "tokenizer_3", "text_encoder_3")
_GENERATOR_PARTS = ("unet", "transformer", "vae", "scheduler")


def client_models(config: RunConfig, level: str = "") -> dict[str, int]:
    """Return the models that a client needs at a prompt level, by default the run's, and their sizes in bytes.

    The generator counts by the parts that a client uses: its text encoder to average captions, denoiser and
    autoencoder too to learn tokens. A captioner or an image encoder of the hub that is not cached here counts nothing.
    """
    sizes: dict[str, int] = {}
    needed = level_of(level or config.prompt_level).models(config)
    if "captioner" in needed and not CAPTIONER.refers(config.captioner):
        try:
            folder = captioner_folder(config.captioner, config.captioner_revision, download=False)
        except ModelError:
            pass
        else:
            sizes[f"captioner {config.captioner}"] = _bytes(folder)
    if "image-encoder" in needed:
        try:
            folder = encoder_folder(config.image_encoder, download=False)
        except ModelError:
            pass
        else:
            sizes[f"image encoder {config.image_encoder}"] = _bytes(folder)
    if needed & {"text-encoder", "generator"}:
        card = inspect(Origin.configured(config))
        folder = text_folder(card)
        wanted = _TEXT_PARTS + (_GENERATOR_PARTS if "generator" in needed else ())
        parts = tuple(part for part in wanted if (folder / part).is_dir())
        # A few-step generator is inverted through the one it was distilled from, which lies where the encoder does.
        sizes[f"generator {config.generator}: {', '.join(parts)}"] = sum(_bytes(folder / part) for part in parts)
        if card.file:
            sizes[f"generator {config.generator}"] = card.file.stat().st_size
        if card.lora:
            sizes[f"LoRA {card.lora.place}"] = card.lora.file.stat().st_size
    return sizes


def _bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
