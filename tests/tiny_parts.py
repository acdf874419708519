"""Tiny random-weight parts of which pipelines of several families are made: tokenizers, text encoders, autoencoders."""

from pathlib import Path
from typing import Any

from tests.tiny_models import STYLES, save_tokenizer

WORDS = ["a", "of", "the", *STYLES, "star", "circle", "square", "triangle", "cross", "heart"]
LENGTH = 16  # tokens of a prompt for CLIP's encoders


def clip_tokenizer(folder: Path) -> Any:
    from transformers import CLIPTokenizer

    save_tokenizer(folder / "tokenizer", length=LENGTH, words=WORDS)
    return CLIPTokenizer.from_pretrained(folder / "tokenizer")


def clip(tokenizer: Any, width: int, *, projection: int = 0) -> Any:
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=LENGTH,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        projection_dim=projection or width,
    )
    return (CLIPTextModelWithProjection if projection else CLIPTextModel)(config).eval()


def words_tokenizer() -> Any:
    """Return a tokenizer of whole words, as fast tokenizers of any model are kept."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    vocabulary = {word: i for i, word in enumerate(["<pad>", "</s>", "<unk>", "<bos>", *WORDS])}
    inner = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    inner.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    special = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>", "bos_token": "<bos>"}
    return PreTrainedTokenizerFast(tokenizer_object=inner, **special)


def t5(tokenizer: Any, width: int = 32, *, kind: str = "T5") -> Any:
    import transformers

    config = getattr(transformers, f"{kind}Config")(
        vocab_size=len(tokenizer), d_model=width, d_kv=8, d_ff=32, num_layers=1, num_heads=4, pad_token_id=0
    )
    return getattr(transformers, f"{kind}EncoderModel")(config).eval()


def vae(channels: int = 4, **more: Any) -> Any:
    import diffusers

    return diffusers.AutoencoderKL(
        block_out_channels=(8, 8, 16),
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        latent_channels=channels,
        norm_num_groups=4,
        sample_size=32,
        **more,
    )


def flow_scheduler(**more: Any) -> Any:
    import diffusers

    return diffusers.FlowMatchEulerDiscreteScheduler(**more)
