"""Any image encoder of transformers, by hub id or folder, or the vision tower of a captioner: images to embeddings.

CLIP and SigLIP give their embeddings of images, models with a trained pooling (DINOv2, ConvNeXt, ResNet, ViT) what that
gives, all others, vision towers among them, the mean over positions of their last layer.
"""

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import torch
from PIL import Image

from fgl_flower.device import resolve_device
from fgl_flower.errors import ModelError, reason
from fgl_flower.foundation.captioner import Captioner
from fgl_flower.foundation.hub import hub_folder

__all__ = ["ImageEncoder"]

_PATTERNS = ("*.json", "*.safetensors")
_TOWERS = ("vision_model", "vision_tower")  # what transformers calls the vision tower of an image-to-text model


class ImageEncoder:
    """A loaded image encoder on its device, frozen.

    Parameters
    ----------
    name : str
        For reports.
    net : torch.nn.Module
        Takes `pixel_values`.
    processor
        transformers' image processor that belongs to it.
    device : torch.device
    pooled : bool
        Whether the net's own pooling is trained.
    """

    def __init__(self, name: str, net: Any, processor: Any, device: torch.device, *, pooled: bool) -> None:
        self.name = name
        self.net = net.eval().requires_grad_(False).to(device)
        self.processor = processor
        self.device = device
        self.pooled = pooled

    @classmethod
    def load(cls, model_id: str, device: str = "auto") -> Self:
        """Load an encoder by hub id or path of a folder written by `save_pretrained`.

        Raises
        ------
        ModelError
            If there is no such model, or it is no image encoder with its image processor.
        """
        from transformers import AutoImageProcessor, AutoModel
        from transformers.utils import logging

        folder = hub_folder("encoder", model_id, "", _PATTERNS)
        before = logging.get_verbosity()
        logging.set_verbosity_error()  # it would list heads, which are not used
        try:
            processor = AutoImageProcessor.from_pretrained(folder, local_files_only=True)
            net, report = AutoModel.from_pretrained(
                folder, local_files_only=True, use_safetensors=True, dtype=torch.float32, output_loading_info=True
            )
        except Exception as error:  # OSError, ValueError, KeyError, ImportError and safetensors' own
            raise ModelError(f"cannot load the encoder {model_id!r}: {reason(error)}") from error
        finally:
            logging.set_verbosity(before)
        missing = sorted(report["missing_keys"])
        lost = [name for name in missing if "pooler" not in name]
        if lost or report["mismatched_keys"]:
            first = lost[0] if lost else "some of their shape"
            raise ModelError(f"the encoder {model_id!r} lacks weights, such as {first}: is it whole?")
        encoder = cls(model_id, net, processor, resolve_device(device), pooled=not missing)
        return encoder._checked()

    @classmethod
    def of_captioner(cls, captioner: object, name: str) -> Self:
        """Return the vision tower of a loaded captioner.

        Raises
        ------
        ModelError
            If it has none that takes images alone.
        """
        inner = captioner.model if isinstance(captioner, Captioner) else None
        places = [inner, getattr(inner, "model", None)]
        tower = next((getattr(one, part) for one in places for part in _TOWERS if hasattr(one, part)), None)
        if tower is None or not isinstance(captioner, Captioner):
            raise ModelError(f"the captioner {name!r} has no vision tower to compare images by: name an --encoder")
        processor: Any = captioner.processor
        return cls(
            f"vision tower of {name}", tower, processor.image_processor, captioner.device, pooled=False
        )._checked()

    @torch.inference_mode()
    def embed(self, images: Sequence[Image.Image]) -> np.ndarray:
        """Return an embedding of each RGB image, (N, F) float32; their lengths mean nothing."""
        pixels = self.processor(images=list(images), return_tensors="pt")["pixel_values"]
        pixels = pixels.to(self.device, next(self.net.parameters()).dtype)
        if hasattr(self.net, "get_image_features"):
            output = self.net.get_image_features(pixel_values=pixels)
            features = getattr(output, "pooler_output", output)  # some versions return the tensor itself
        else:
            output = self.net(pixel_values=pixels)
            own = getattr(output, "pooler_output", None) if self.pooled else None
            features = own if own is not None else _mean(output.last_hidden_state)
        return features.flatten(1).float().cpu().numpy()

    def _checked(self) -> Self:
        """Return itself once it has made features of an image."""
        try:
            self.embed([Image.new("RGB", (32, 32))])
        except Exception as error:  # whatever the model raises
            raise ModelError(f"{self.name} makes no features of an image alone: {reason(error)}") from error
        return self


def _mean(states: torch.Tensor) -> torch.Tensor:
    """Return (N, F) from (N, positions, F), or from maps (N, F, H, W)."""
    return states.mean(1) if states.ndim == 3 else states.mean((2, 3))
