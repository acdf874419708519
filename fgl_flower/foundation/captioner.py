"""Any transformers image-to-text model, by hub id or folder: BLIP, BLIP-2 and the general image-text-to-text models.

BLIP and BLIP-2 take the bare image, or words that their answer goes on from. The general models (LLaVA, Idefics,
Qwen-VL, PaliGemma ...) are asked in a chat, if their processor knows a chat template, else by a bare instruction.
Nothing is drawn by lot: equal images have equal captions. Only the text that the model adds is kept.
"""

from collections.abc import Sequence
from logging import INFO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from flwr.supercore import log
from PIL import Image

from fgl_flower.data.decoding import open_image
from fgl_flower.device import resolve_device
from fgl_flower.errors import ConfigError, ModelError
from fgl_flower.extension_points import CAPTIONER
from fgl_flower.foundation.hub import hub_folder
from fgl_flower.foundation.miniature import weights_dir
from fgl_flower.foundation.own import Describes, instance
from fgl_flower.foundation.weights_hash import weights_hash

if TYPE_CHECKING:
    from transformers import PreTrainedModel, ProcessorMixin

INSTRUCTION = "Describe this image in one short sentence."
MAX_NEW_TOKENS = 40
_PATTERNS = ("*.json", "*.safetensors", "*.txt", "*.model", "*.jinja")  # no pickles; words may be in any of the rest
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
    return hub_folder("captioner", model_id, revision, _PATTERNS, download=download)


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


def load_captioner(
    model_id: str,
    revision: str = "",
    device: str = "auto",
    *,
    instruction: str = "",
    beams: int = 1,
    precision: str = "auto",
) -> Describes:
    """Return what describes images: a `Captioner`, or an object of the user's own, which goes its own way.

    Parameters
    ----------
    model_id, revision : str
        See `captioner_folder`; or ``module:object``.
    device, instruction, beams, precision
        See `Captioner.load`.

    Raises
    ------
    ModelError
        If the checkpoint is missing or no image-to-text model.
    """
    if CAPTIONER.refers(model_id):
        own: Describes = instance(CAPTIONER, model_id)
        return own
    return Captioner.load(model_id, revision, device, instruction=instruction, beams=beams, precision=precision)


class Captioner:
    """A loaded captioner on its device, frozen.

    Parameters
    ----------
    model, processor
        transformers' own.
    device : torch.device
    instruction : str
        What it is asked; empty: nothing where it captions bare images, else for one short sentence.
    beams : int
        Of its search for a caption, >= 1.
    """

    def __init__(
        self,
        model: "PreTrainedModel",
        processor: "ProcessorMixin",
        device: torch.device,
        *,
        instruction: str = "",
        beams: int = 1,
    ) -> None:
        self.model: Any = model.eval().requires_grad_(False).to(device)
        self.processor = processor
        self.device = device
        self.instruction = instruction
        self.beams = beams
        self._at_once: int | None = None  # images, where the device's memory has set a limit

    @classmethod
    def load(
        cls,
        model_id: str,
        revision: str = "",
        device: str = "auto",
        *,
        instruction: str = "",
        beams: int = 1,
        precision: str = "auto",
    ) -> Self:
        """Load a captioner; see `captioner_folder` for ids.

        Parameters
        ----------
        model_id, revision : str
        device : str
            See `resolve_device`.
        instruction, beams
            See `Captioner`.
        precision : {"auto", "float32", "bfloat16", "float16"}
            Of weights and passes; "auto": float32 on a CPU, float16 elsewhere.

        Raises
        ------
        ModelError
            If the checkpoint is missing or no image-to-text model.
        ConfigError
            If the device cannot do this precision.
        """
        from transformers import AutoModelForImageTextToText, AutoProcessor, Blip2ForConditionalGeneration
        from transformers.utils import logging

        logging.disable_progress_bar()
        folder = captioner_folder(model_id, revision)
        target = resolve_device(device)
        if target.type == "cpu" and precision == "float16":
            raise ConfigError("captioner-precision = 'float16' needs a GPU: use 'bfloat16' or 'float32' on the CPU")
        if precision == "auto":
            precision = "float32" if target.type == "cpu" else "float16"
        try:
            processor = AutoProcessor.from_pretrained(folder, local_files_only=True)
            kind = Blip2ForConditionalGeneration if _model_type(folder) == "blip-2" else AutoModelForImageTextToText
            model = kind.from_pretrained(
                folder, local_files_only=True, dtype=getattr(torch, precision), use_safetensors=True
            )
        except (OSError, ValueError, KeyError, RuntimeError, AttributeError, ImportError) as error:
            reason = str(error).strip().splitlines() or [type(error).__name__]
            raise ModelError(f"cannot load the captioner {model_id!r}: {reason[0]}") from error
        return cls(model, processor, target, instruction=instruction, beams=beams)

    @torch.inference_mode()
    def describe(self, images: Sequence[Image.Image | np.ndarray], batch_size: int = 64) -> list[str]:
        """Return a caption for each image.

        Parameters
        ----------
        images : sequence of PIL images or (H, W, 3) uint8 arrays
            Of any sizes and modes.
        batch_size : int
            Images captioned at once, at most: fewer once the device's memory did not hold as many.
        """
        captions: list[str] = []
        while len(captions) < len(images):
            size = min(batch_size, self._at_once or batch_size, len(images) - len(captions))
            try:
                captions += self._captions([open_image(one) for one in images[len(captions) : len(captions) + size]])
            except torch.OutOfMemoryError:
                if size == 1:
                    raise
                self._at_once = size // 2
                log(INFO, "out of memory: %d images are captioned at once from now on", self._at_once)
        return captions

    def _captions(self, images: list[Image.Image]) -> list[str]:
        # An image unlike all that it was trained on may be captioned without end: up to the last position there is.
        inputs = self._inputs(images).to(self.device, self.model.dtype)
        asked = inputs["input_ids"].shape[1] if "input_ids" in inputs else 0
        positions = getattr(self._text_config, "max_position_embeddings", MAX_NEW_TOKENS + asked)
        tokens = self.model.generate(
            **inputs,
            do_sample=False,
            num_beams=self.beams,
            max_new_tokens=max(1, min(MAX_NEW_TOKENS, positions - asked)),
        )
        return [
            " ".join(caption.split())
            for caption in self.processor.batch_decode(tokens[:, self._echoed(asked) :], skip_special_tokens=True)
        ]

    def _echoed(self, asked: int) -> int:
        """Return how many of the tokens that come back are the question's."""
        if self._text_config.is_encoder_decoder or not asked:
            return 0
        return asked - 1 if self.model.config.model_type == "blip" else asked  # its last one ends the question

    @property
    def _text_config(self) -> Any:
        return self.model.config.get_text_config()

    def _inputs(self, images: list[Image.Image]) -> Any:
        if self.model.config.model_type in _BARE:
            words = {"text": [self.instruction] * len(images)} if self.instruction else {}
            return self.processor(images=images, return_tensors="pt", **words)
        question = self.instruction or INSTRUCTION
        if getattr(self.processor, "chat_template", None):
            content = [{"type": "image"}, {"type": "text", "text": question}]
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
