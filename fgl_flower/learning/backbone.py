"""transformers' models as functions from images to features."""

import inspect
import math
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

__all__ = ["DUAL_ENCODERS", "Backbone", "ImageTower", "text_head"]

DUAL_ENCODERS = frozenset({"CLIPModel", "SiglipModel"})  # of image and text; classes of transformers
_TEXT_PARTS = ("text_model", "text_projection", "logit_scale", "logit_bias")


class Backbone(nn.Module):
    """transformers' model, of which the head is replaced by the identity, as a function from images to features.

    Parameters
    ----------
    net : torch.nn.Module
        Of `AutoModelForImageClassification`.
    size : int
        Side of the images that it was trained on, in pixels. Position embeddings are interpolated for others, where the
        model knows how.
    """

    def __init__(self, net: nn.Module, size: int) -> None:
        super().__init__()
        self.net = net
        self.size = size
        self._interpolates = "interpolate_pos_encoding" in inspect.signature(net.forward).parameters

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        more = {"interpolate_pos_encoding": True} if self._interpolates and x.shape[-1] != self.size else {}
        features: torch.Tensor = self.net(pixel_values=x, **more).logits
        return features


class ImageTower(Backbone):
    """The image half of CLIP (Radford et al., arXiv 2103.00020) or SigLIP: features are its embeddings of images.

    They have the length sqrt(F), so that a feature is of the size that a layer norm would give it.

    Parameters
    ----------
    net : torch.nn.Module
        With `get_image_features`; its text half is taken out.
    size : int
        See `Backbone`.
    """

    def __init__(self, net: nn.Module, size: int) -> None:
        super().__init__(net, size)
        for name in _TEXT_PARTS:
            if hasattr(net, name):
                delattr(net, name)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        more = {"interpolate_pos_encoding": True} if x.shape[-1] != self.size else {}
        net: Any = self.net
        embeddings = _embeddings(net.get_image_features(pixel_values=x, **more))
        return F.normalize(embeddings) * math.sqrt(embeddings.shape[1])


@torch.no_grad()
def text_head(folder: Path, prompts: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the linear head that a dual encoder's text half makes of a prompt a class.

    With the features of `ImageTower` its logits are those that the model itself gives an image and these texts.

    Parameters
    ----------
    folder : Path
        Of a checkpoint of `DUAL_ENCODERS`, tokenizer included.
    prompts : list of str
        C texts; what is longer than the model reads is cut off.

    Returns
    -------
    torch.Tensor, torch.Tensor
        (C, F) weights and (C,) bias, float32.
    """
    from transformers import AutoModel, AutoTokenizer

    net: Any = AutoModel.from_pretrained(folder, dtype=torch.float32, local_files_only=True, use_safetensors=True)
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    longest = net.config.text_config.max_position_embeddings
    tokens = tokenizer(prompts, padding="max_length", truncation=True, max_length=longest, return_tensors="pt")
    mask = {"attention_mask": tokens["attention_mask"]} if "attention_mask" in tokens else {}
    embeddings = _embeddings(net.eval().get_text_features(input_ids=tokens["input_ids"], **mask))
    weights = F.normalize(embeddings) * net.logit_scale.exp() / math.sqrt(embeddings.shape[1])
    bias = getattr(net, "logit_bias", torch.zeros(1))
    return weights, bias.expand(len(prompts)).clone()


def _embeddings(output: Any) -> torch.Tensor:
    embeddings: torch.Tensor = getattr(output, "pooler_output", output)  # some versions return the tensor itself
    return embeddings
