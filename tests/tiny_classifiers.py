"""Tiny random-weight image classifiers in transformers' own formats."""

from pathlib import Path
from typing import Any

import torch

from tests.tiny_captioners import save_words

SIZE = 32  # of the images that they were made for
_WIDTH = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
_IMAGES = {"image_size": SIZE, "patch_size": 8}


def save_classifier(folder: Path, kind: str = "vit", seed: int = 0, **changes: Any) -> Path:
    """Write a random classifier of three classes with its image processor, and return its folder."""
    import transformers as t

    stages = {"hidden_sizes": [8, 8, 16, 16], "depths": [1, 1, 1, 1]}
    vision = {**_IMAGES, **_WIDTH}
    made: dict[str, tuple[Any, Any]] = {
        "vit": (t.ViTConfig, vision),
        "deit": (t.DeiTConfig, vision),
        "beit": (t.BeitConfig, vision),
        "dinov2": (t.Dinov2Config, {**_IMAGES, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}),
        "swin": (
            t.SwinConfig,
            {**_IMAGES, "patch_size": 4, "embed_dim": 8, "depths": [1, 1], "num_heads": [1, 2], "window_size": 4},
        ),
        "convnext": (t.ConvNextConfig, {"image_size": SIZE, **stages}),
        "resnet": (t.ResNetConfig, {"embedding_size": 8, "layer_type": "basic", **stages}),
        "levit": (
            t.LevitConfig,
            {"image_size": 64, "hidden_sizes": [16] * 3, "num_attention_heads": [1] * 3, "depths": [1] * 3},
        ),
        "siglip": (t.SiglipConfig, {"vision_config": vision, "text_config": {"vocab_size": 8, **_WIDTH}}),
        "clip": (t.CLIPConfig, {"vision_config": vision, "text_config": {"vocab_size": 8, **_WIDTH}}),
    }
    config, values = made[kind]
    torch.manual_seed(seed)
    classifier = getattr(t, config.__name__.replace("Config", "ForImageClassification"))
    classifier(config(**{**values, "num_labels": 3, **changes})).save_pretrained(folder)
    processor_of(folder, mean=[0.2, 0.4, 0.6], std=[0.3, 0.2, 0.1])
    return folder


def processor_of(folder: Path, mean: list[float], std: list[float]) -> Any:
    """Write an image processor that normalises by these figures, and return it."""
    import transformers as t

    side = {"height": SIZE, "width": SIZE}
    made = t.ViTImageProcessorPil(size=side, image_mean=mean, image_std=std)
    made.save_pretrained(folder)
    return made


def save_dual_encoder(folder: Path, kind: str, words: list[str]) -> Path:
    """Write a random CLIP or SigLIP that reads these words, with its processors, and return its folder."""
    import transformers as t
    from tokenizers.processors import TemplateProcessing

    torch.manual_seed(0)
    tokenizer = save_words(folder, words)
    ends = [("<s>", 1), ("</s>", 2)]
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single="<s> $A </s>", special_tokens=ends)
    tokenizer.save_pretrained(folder)
    text = {"vocab_size": len(tokenizer), "max_position_embeddings": 8, "pad_token_id": 0, **_WIDTH}
    marks = {"bos_token_id": 1, "eos_token_id": 2}
    config, model = {"clip": (t.CLIPConfig, t.CLIPModel), "siglip": (t.SiglipConfig, t.SiglipModel)}[kind]
    made = model(config(vision_config={**_IMAGES, **_WIDTH}, text_config={**text, **marks}))
    made.save_pretrained(folder)
    processor_of(folder, mean=[0.2, 0.4, 0.6], std=[0.3, 0.2, 0.1])
    return folder
