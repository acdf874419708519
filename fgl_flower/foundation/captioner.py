"""Any transformers image-to-text model, by hub id or folder: BLIP, BLIP-2 and the general image-text-to-text models.

BLIP and BLIP-2 take the bare image. The general models (LLaVA, Idefics, Qwen-VL, PaliGemma ...) are asked in a chat, if
their processor knows a chat template, else by a bare instruction. Decoding is greedy, so that equal images have equal
captions, and only the text that the model adds is kept.
"""

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from PIL import Image

from fgl_flower.data.decoding import open_image
from fgl_flower.device import resolve_device
from fgl_flower.errors import ModelError
from fgl_flower.extension_points import CAPTIONER
from fgl_flower.foundation.hub import hub_fault
from fgl_flower.foundation.miniature import weights_dir
from fgl_flower.foundation.own import Describes, instance
from fgl_flower.foundation.weights_hash import weights_hash

if TYPE_CHECKING:
    from transformers import PreTrainedModel, ProcessorMixin

INSTRUCTION = "Describe this image in one short sentence."
MAX_NEW_TOKENS = 40
_BARE = frozenset({"blip", "blip-2"})  # caption the image without being asked anything


def captioner_folder(model_id: str, revision: str = "", *, download: bool = True) -> Path:
    """Return where a captioner lies; a hub id that is not cached is downloaded.

    Parameters
    ----------
    model_id : str
        Hub id, path of a folder written by `save_pretrained`, or 'miniature'.
    revision : str
        Hub revision; empty: the default branch. Ignored for folders.
    download : bool
        Whether it may be downloaded.

    Raises
    ------
    ModelError
        If there is no such model.
    """
    if model_id == "miniature":
        return weights_dir("captioner")
    folder = Path(model_id).expanduser()
    if folder.is_dir():
        return folder
    from huggingface_hub import snapshot_download

    options: dict[str, Any] = {"revision": revision or None, "ignore_patterns": ["*.bin", "*.h5", "*.msgpack", "*.pt"]}
    try:
        with contextlib.suppress(OSError, ValueError):
            return Path(snapshot_download(model_id, local_files_only=True, **options))
        if download:
            return Path(snapshot_download(model_id, **options))
    except Exception as error:  # the hub client raises a dozen unrelated types
        raise ModelError(hub_fault(error, "captioner", model_id, revision)) from error
    raise ModelError(f"the captioner {model_id!r} is not cached")


def check_captioner(model_id: str, revision: str = "") -> None:
    """Make sure that a captioner is there; one of the hub that is not cached is downloaded.

    Raises
    ------
    ModelError
        If there is no such model.
    """
    if not CAPTIONER.refers(model_id):
        captioner_folder(model_id, revision)


def captioner_revision(model_id: str, revision: str = "") -> str:
    """Return the commit of a captioner of the hub, or a hash of a folder's files; empty if this machine has none."""
    if CAPTIONER.refers(model_id):
        return str(instance(CAPTIONER, model_id).revision)
    try:
        folder = captioner_folder(model_id, revision, download=False)
    except ModelError:
        return ""  # clients have it, this server need not
    local = model_id == "miniature" or Path(model_id).expanduser().is_dir()
    return weights_hash((folder,)) if local else folder.name


def load_captioner(model_id: str, revision: str = "", device: str = "auto") -> Describes:
    """Return what describes images: a `Captioner`, or an object of the user's own.

    Raises
    ------
    ModelError
        If the checkpoint is missing or no image-to-text model.
    """
    if CAPTIONER.refers(model_id):
        own: Describes = instance(CAPTIONER, model_id)
        return own
    return Captioner.load(model_id, revision, device)


class Captioner:
    """A loaded captioner on its device, frozen.

    Parameters
    ----------
    model, processor
        transformers' own.
    device : torch.device
    """

    def __init__(self, model: "PreTrainedModel", processor: "ProcessorMixin", device: torch.device) -> None:
        self.model: Any = model.eval().requires_grad_(False).to(device)
        self.processor = processor
        self.device = device

    @classmethod
    def load(cls, model_id: str, revision: str = "", device: str = "auto") -> Self:
        """Load a captioner in float32 on a CPU, else in half precision; see `captioner_folder` for ids.

        Raises
        ------
        ModelError
            If the checkpoint is missing or no image-to-text model.
        """
        from transformers import AutoModelForImageTextToText, AutoProcessor, Blip2ForConditionalGeneration
        from transformers.utils import logging

        logging.disable_progress_bar()
        folder = captioner_folder(model_id, revision)
        target = resolve_device(device)
        dtype = torch.float32 if target.type == "cpu" else torch.float16
        try:
            processor = AutoProcessor.from_pretrained(folder, local_files_only=True)
            kind = Blip2ForConditionalGeneration if _model_type(folder) == "blip-2" else AutoModelForImageTextToText
            model = kind.from_pretrained(folder, local_files_only=True, dtype=dtype, use_safetensors=True)
        except (OSError, ValueError, KeyError, RuntimeError, AttributeError, ImportError) as error:
            reason = str(error).strip().splitlines() or [type(error).__name__]
            raise ModelError(f"cannot load the captioner {model_id!r}: {reason[0]}") from error
        return cls(model, processor, target)

    @torch.inference_mode()
    def describe(self, images: Sequence[Image.Image | np.ndarray], batch_size: int = 64) -> list[str]:
        """Return a caption for each image.

        Parameters
        ----------
        images : sequence of PIL images or (H, W, 3) uint8 arrays
            Of any sizes and modes.
        batch_size : int
            Images captioned at once.
        """
        captions: list[str] = []
        # An image unlike all that it was trained on may be captioned without end: up to the last position there is.
        positions = getattr(self.model.config.get_text_config(), "max_position_embeddings", MAX_NEW_TOKENS)
        most = min(MAX_NEW_TOKENS, positions)
        for start in range(0, len(images), batch_size):
            batch = [open_image(image) for image in images[start : start + batch_size]]
            inputs = self._inputs(batch).to(self.device, self.model.dtype)
            tokens = self.model.generate(**inputs, do_sample=False, num_beams=1, max_new_tokens=most)
            if not self._bare:
                tokens = tokens[:, inputs["input_ids"].shape[1] :]  # (N, tokens): without the question
            captions += self.processor.batch_decode(tokens, skip_special_tokens=True)
        return [" ".join(caption.split()) for caption in captions]

    @property
    def _bare(self) -> bool:
        return self.model.config.model_type in _BARE

    def _inputs(self, images: list[Image.Image]) -> Any:
        if self._bare:
            return self.processor(images=images, return_tensors="pt")
        question = INSTRUCTION
        if getattr(self.processor, "chat_template", None):
            content = [{"type": "image"}, {"type": "text", "text": INSTRUCTION}]
            chat: Any = [{"role": "user", "content": content}]
            question = str(self.processor.apply_chat_template(chat, add_generation_prompt=True))
        tokenizer = getattr(self.processor, "tokenizer", None)
        if tokenizer is not None:
            tokenizer.padding_side = "left"  # the answer begins where the question ends, in every row
        return self.processor(
            images=[[image] for image in images], text=[question] * len(images), padding=True, return_tensors="pt"
        )


def _model_type(folder: Path) -> str:
    from transformers import AutoConfig

    return str(AutoConfig.from_pretrained(folder, local_files_only=True).model_type)
