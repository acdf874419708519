"""Any image classifier of transformers as a classifier of a run's classes: ``model = "hub:ID"``.

Of the checkpoint all but the classification head is taken: ViT, DeiT, Swin, BEiT, DINOv2, ConvNeXt, ResNet and
whatever else `AutoModelForImageClassification` loads and keeps its head in the attribute `classifier`. A checkpoint
without a head (`ViTModel`) serves as well, and of CLIP and SigLIP the image half, whose text half may give a head.
"""

from pathlib import Path
from typing import Any

import torch
from torch import nn

from fgl_flower.errors import ModelError, reason
from fgl_flower.files import read_json
from fgl_flower.foundation.hub import hub_folder
from fgl_flower.foundation.weights_hash import weights_hash
from fgl_flower.learning.backbone import DUAL_ENCODERS, Backbone, ImageTower, text_head
from fgl_flower.learning.classifier import Classifier
from fgl_flower.learning.randomness import own_randomness

__all__ = ["PretrainedClassifier", "check_size", "checkpoint_revision", "hub_model", "zero_shot_head"]

_PATTERNS = ("*.json", "*.safetensors", "*.txt", "*.model")
_HEAD = "classifier"  # what transformers' image classifiers call their last layers
_ANY_SIZE = 64  # pixels, of models whose configuration names no size: they take any


class PretrainedClassifier(Classifier):
    """A pretrained backbone, which takes images normalised as in its own training, and a fresh head.

    Parameters
    ----------
    backbone : Backbone
    width, num_classes : int
        See `Classifier`.
    scale, shift : torch.Tensor
        (3,) float each: a pixel p in 0..255 becomes p * scale + shift.
    """

    def __init__(
        self, backbone: Backbone, width: int, num_classes: int, scale: torch.Tensor, shift: torch.Tensor
    ) -> None:
        super().__init__(backbone, width, num_classes)
        self.register_buffer("scale", scale[:, None, None], persistent=False)  # part of the checkpoint, no weights
        self.register_buffer("shift", shift[:, None, None], persistent=False)

    def normalise(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return (N, 3, S, S) pixels in 0..255 as the checkpoint's own processor normalises them, channels last."""
        scale, shift = self.get_buffer("scale"), self.get_buffer("shift")
        x = pixels.to(torch.float32) * scale.to(pixels.device) + shift.to(pixels.device)
        return x.contiguous(memory_format=torch.channels_last)


def checkpoint_revision(model_id: str, revision: str = "") -> str:
    """Return the commit of a model of the hub, which is downloaded if it is not cached, or a hash of a folder's files.

    Raises
    ------
    ModelError
        If there is no such model.
    """
    folder = hub_folder("model", model_id, revision, _PATTERNS)
    return weights_hash((folder,)) if Path(model_id).expanduser().is_dir() else folder.name


def hub_model(num_classes: int, model_id: str, revision: str = "") -> PretrainedClassifier:
    """Return a classifier with the backbone of a checkpoint and a head drawn from torch's global generator.

    Parameters
    ----------
    num_classes : int
    model_id : str
        Hub id, or path of a folder written by `save_pretrained`.
    revision : str
        Hub revision; empty: the default branch. Ignored for folders.

    Raises
    ------
    ModelError
        If the checkpoint is missing, no image classifier, incomplete, or does not say how its images are normalised.
    """
    folder = hub_folder("model", model_id, revision, _PATTERNS)
    scale, shift = _normalisation(folder, model_id)
    with own_randomness(0):  # transformers draws what it then replaces: the head's weights must not depend on how much
        backbone = _load(folder, model_id).eval()
        try:
            with torch.no_grad():
                features = backbone(torch.zeros(1, 3, backbone.size, backbone.size))
        except Exception as error:  # whatever the model raises
            raise ModelError(f"model = 'hub:{model_id}' makes no features of an image: {reason(error)}") from error
    if features.ndim != 2 or not features.shape[1]:
        raise ModelError(
            f"model = 'hub:{model_id}' makes {tuple(features.shape)} of an image, where one row of features is needed"
        )
    return PretrainedClassifier(backbone, features.shape[1], num_classes, scale, shift)


def zero_shot_head(model_id: str, revision: str, prompts: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the weights (C, F) and bias (C,) of the head that a checkpoint's text encoder makes of C prompts.

    Raises
    ------
    ModelError
        If the checkpoint has no text encoder that belongs to its image encoder, or no tokenizer.
    """
    folder = hub_folder("model", model_id, revision, _PATTERNS)
    architectures = read_json(folder / "config.json", {}).get("architectures") or ()
    if DUAL_ENCODERS.isdisjoint(architectures):
        raise ModelError(
            f"method = 'zero-shot' needs a model of images and texts, CLIP or SigLIP, and 'hub:{model_id}' is a "
            f"{', '.join(architectures) or 'model of another kind'}"
        )
    try:
        with own_randomness(0):
            return text_head(folder, prompts)
    except Exception as error:  # of tokenizers and transformers, of many types
        raise ModelError(f"model = 'hub:{model_id}' reads no text: {reason(error)}") from error


def check_size(model: Classifier, size: int) -> None:
    """Make sure that a classifier takes images of this side, in pixels.

    Raises
    ------
    ModelError
        With the size that it takes.
    """
    model.to("cpu").eval()  # an earlier run of this process may have left what is fixed on an accelerator
    try:
        with torch.no_grad():
            model(model.normalise(torch.zeros(1, 3, size, size, dtype=torch.uint8)))
    except Exception as error:  # whatever the model raises
        native = next(
            (f" = {module.size}" for module in model.modules() if isinstance(module, Backbone)), " to its own"
        )
        raise ModelError(
            f"the model takes no images of image-size = {size} ({reason(error)}): set image-size{native}"
        ) from error


def _load(folder: Path, model_id: str) -> Backbone:
    from transformers import (
        MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING,
        AutoConfig,
        AutoModel,
        AutoModelForImageClassification,
    )
    from transformers.utils import logging

    logging.disable_progress_bar()
    before = logging.get_verbosity()
    logging.set_verbosity_error()  # it would list the head, which is not used
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True)
        classes: Any = MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING.get(type(config), None)
        if isinstance(classes, tuple):  # DeiT and LeViT have a second class, with two heads
            config.architectures = [classes[0].__name__]
        dual = not DUAL_ENCODERS.isdisjoint(config.architectures or ())
        kind: Any = AutoModel if dual else AutoModelForImageClassification
        net, report = kind.from_pretrained(
            folder,
            config=config,
            dtype=torch.float32,
            local_files_only=True,
            use_safetensors=True,
            output_loading_info=True,
        )
    except Exception as error:  # transformers raises OSError, ValueError, KeyError and safetensors' own
        raise ModelError(_fault(folder, model_id, error)) from error
    finally:
        logging.set_verbosity(before)
    missing = sorted(name for name in report["missing_keys"] if not name.startswith(f"{_HEAD}."))
    if missing or report["mismatched_keys"]:
        first = missing[0] if missing else str(sorted(report["mismatched_keys"])[0])
        raise ModelError(
            f"model = 'hub:{model_id}' lacks weights of a {type(net).__name__}, such as {first}: it is no image "
            "classifier, or not whole"
        )
    if dual:
        return ImageTower(net, _size(config))
    head: Any = getattr(net, _HEAD, None)
    if head is None:
        raise ModelError(
            f"model = 'hub:{model_id}' is a {type(net).__name__}, whose head cannot be told from the rest; use a model "
            "such as ViT, DeiT, Swin, DINOv2, ConvNeXt or ResNet"
        )
    if isinstance(head, nn.Sequential):
        head[-1] = nn.Identity()  # before it stand poolings that make rows of maps
    else:
        setattr(net, _HEAD, nn.Identity())
    return Backbone(net, _size(config))


def _size(config: Any) -> int:
    size = getattr(getattr(config, "vision_config", config), "image_size", None) or _ANY_SIZE
    return int(size if isinstance(size, int) else max(size))


def _normalisation(folder: Path, model_id: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Return scale and shift, (3,) each, of the checkpoint's image processor."""
    from transformers.image_processing_base import ImageProcessingMixin

    try:
        settings, _ = ImageProcessingMixin.get_image_processor_dict(folder, local_files_only=True)
    except OSError as error:
        if not (folder / "config.json").is_file():
            raise ModelError(_fault(folder, model_id, error)) from error
        raise ModelError(
            f"model = 'hub:{model_id}' has no preprocessor_config.json, which says how its images are normalised: save "
            "its image processor beside it (AutoImageProcessor.from_pretrained(...).save_pretrained(FOLDER))"
        ) from error
    factor = float(settings.get("rescale_factor", 1 / 255)) if settings.get("do_rescale", True) else 1.0
    mean, deviation = settings.get("image_mean"), settings.get("image_std")
    if not settings.get("do_normalize", True) or mean is None or deviation is None:
        mean, deviation = 0.0, 1.0
    means, deviations = (torch.as_tensor(value, dtype=torch.float32).expand(3) for value in (mean, deviation))
    return factor / deviations, -means / deviations


def _fault(folder: Path, model_id: str, error: Exception) -> str:
    """Return why a folder's model cannot be loaded."""
    start = f"model = 'hub:{model_id}'"
    if (folder / "adapter_config.json").is_file():
        return f"{start} holds an adapter; merge it into its base model (merge_and_unload), then save_pretrained"
    if (folder / "model_index.json").is_file():
        return f"{start} holds a diffusers pipeline, which draws images and classifies none"
    if not (folder / "config.json").is_file():
        return f"{start} holds no config.json: it is no checkpoint of transformers"
    if not any(folder.glob("*.safetensors")):
        return f"{start} has no weights in safetensors: load and save_pretrained it once with transformers"
    if "Unrecognized configuration class" in str(error):
        return f"{start} is no image classifier: transformers' AutoModelForImageClassification does not take its kind"
    return f"{start} cannot be loaded: {reason(error)}"
