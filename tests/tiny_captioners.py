"""Tiny random-weight image-to-text models in transformers' own formats."""

from pathlib import Path
from typing import Any

import torch

from fgl_flower.foundation.captioner import INSTRUCTION


def save_words(folder: Path, words: list[str]) -> Any:
    """Return a word-level tokenizer with the marks that models ask for."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    vocabulary = {word: i for i, word in enumerate(["<pad>", "<s>", "</s>", "<unk>", "<image>", *words])}
    inner = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    inner.post_processor = processors.TemplateProcessing("<s> $A", "<s> $A $B", [("<s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=inner,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        additional_special_tokens=["<image>"],
    )


def save_blip2(folder: Path) -> Path:
    """Write a random BLIP-2 with OPT, as `Salesforce/blip2-opt-2.7b` is, and return its folder."""
    import transformers as t

    torch.manual_seed(0)
    tokenizer = save_words(folder, ["a", "star", "circle"])
    width = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    opt = t.OPTConfig(
        vocab_size=len(tokenizer), hidden_size=16, ffn_dim=16, num_hidden_layers=1, num_attention_heads=2,
        word_embed_proj_dim=16, pad_token_id=0, bos_token_id=1, eos_token_id=2, max_position_embeddings=128,
    )  # fmt: skip
    config = t.Blip2Config(
        vision_config=t.Blip2VisionConfig(image_size=32, patch_size=16, **width).to_dict(),
        qformer_config=t.Blip2QFormerConfig(encoder_hidden_size=16, vocab_size=8, **width).to_dict(),
        text_config=opt.to_dict(),
        num_query_tokens=4,
        image_token_index=4,
    )
    t.Blip2ForConditionalGeneration(config).save_pretrained(folder)
    images = t.BlipImageProcessor(size={"height": 32, "width": 32})
    t.Blip2Processor(images, tokenizer, num_query_tokens=4).save_pretrained(folder)
    return folder


def save_llava(folder: Path) -> Path:
    """Write a random LLaVA with a chat template, one of the general models, and return its folder."""
    import transformers as t

    torch.manual_seed(0)
    tokenizer = save_words(folder, ["USER:", "ASSISTANT:", *INSTRUCTION.split(), "star", "circle"])
    width = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = t.LlavaConfig(
        vision_config=t.CLIPVisionConfig(image_size=32, patch_size=16, **width),
        text_config=t.LlamaConfig(
            vocab_size=len(tokenizer), num_key_value_heads=2, pad_token_id=0, bos_token_id=1, eos_token_id=2, **width
        ),
        image_token_index=4,
        vision_feature_layer=-1,
    )
    t.LlavaForConditionalGeneration(config).save_pretrained(folder)
    images = t.CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    template = (
        "{% for m in messages %}{{ m['role'].upper() }}: {% for c in m['content'] %}"
        "{% if c['type'] == 'image' %}<image> {% else %}{{ c['text'] }} {% endif %}{% endfor %}{% endfor %}ASSISTANT:"
    )
    processor = t.LlavaProcessor(
        images, tokenizer, patch_size=16, vision_feature_select_strategy="default", num_additional_image_tokens=1,
        chat_template=template,
    )  # fmt: skip
    processor.save_pretrained(folder)
    return folder
