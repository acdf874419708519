"""Tiny random-weight checkpoints of families beside Stable Diffusion, each in diffusers' own format, drawing 32x32."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

from tests.tiny_models import save_text_to_image
from tests.tiny_parts import LENGTH, clip, clip_tokenizer, flow_scheduler, t5, vae, words_tokenizer


def save_family(name: str, folder: Path) -> Path:
    """Save the checkpoint of one of `FAMILIES` and return its folder."""
    torch.manual_seed(0)
    pipeline = FAMILIES[name](folder)
    if pipeline is not None:
        pipeline.save_pretrained(folder, safe_serialization=True)
    (folder / "fgl.json").write_text(json.dumps({"steps": 2, "size": 32}), encoding="utf-8")
    return folder


def _sd(folder: Path) -> None:
    save_text_to_image(folder)


def _sdxl(folder: Path, **scheduler: Any) -> Any:
    import diffusers

    tokenizer = clip_tokenizer(folder)
    unet = diffusers.UNet2DConditionModel(
        sample_size=8,
        in_channels=4,
        out_channels=4,
        layers_per_block=1,
        block_out_channels=(16, 32),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=48,
        attention_head_dim=4,
        norm_num_groups=8,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=6 * 8 + 24,
    )
    plain = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012, **scheduler}
    kind = diffusers.EulerAncestralDiscreteScheduler if scheduler else diffusers.EulerDiscreteScheduler
    return diffusers.StableDiffusionXLPipeline(
        vae=vae(force_upcast=False),
        text_encoder=clip(tokenizer, 16),
        text_encoder_2=clip(tokenizer, 32, projection=24),
        tokenizer=tokenizer,
        tokenizer_2=tokenizer,
        unet=unet,
        scheduler=kind(**plain),
    )


def _lcm(folder: Path) -> Any:
    import diffusers

    save_text_to_image(folder)
    pipeline = diffusers.StableDiffusionPipeline.from_pretrained(folder)
    config = {**pipeline.unet.config, "time_cond_proj_dim": 16}
    parts = {**pipeline.components, "unet": diffusers.UNet2DConditionModel.from_config(config)}
    parts["scheduler"] = diffusers.LCMScheduler(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012)
    return diffusers.LatentConsistencyModelPipeline(**parts, requires_safety_checker=False)


def _sd3(folder: Path) -> Any:
    import diffusers

    tokenizer, words = clip_tokenizer(folder), words_tokenizer()
    transformer = diffusers.SD3Transformer2DModel(
        sample_size=8,
        patch_size=1,
        in_channels=4,
        out_channels=4,
        num_layers=1,
        attention_head_dim=8,
        num_attention_heads=4,
        caption_projection_dim=32,
        joint_attention_dim=32,
        pooled_projection_dim=32,
        pos_embed_max_size=16,
    )
    return diffusers.StableDiffusion3Pipeline(
        transformer=transformer,
        scheduler=flow_scheduler(shift=3.0),
        vae=vae(shift_factor=0.0609, scaling_factor=1.5),
        text_encoder=clip(tokenizer, 16, projection=16),
        text_encoder_2=clip(tokenizer, 16, projection=16),
        text_encoder_3=t5(words),
        tokenizer=tokenizer,
        tokenizer_2=tokenizer,
        tokenizer_3=words,
    )


def _flux(folder: Path, *, guided: bool) -> Any:
    import diffusers

    tokenizer, words = clip_tokenizer(folder), words_tokenizer()
    transformer = diffusers.FluxTransformer2DModel(
        patch_size=1,
        in_channels=4,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=32,
        pooled_projection_dim=32,
        axes_dims_rope=(4, 4, 8),
        guidance_embeds=guided,
    )
    with torch.no_grad():  # random weights of this size hardly read a prompt
        for part in (transformer.context_embedder, transformer.time_text_embed.text_embedder):
            for parameter in part.parameters():
                parameter *= 20
    return diffusers.FluxPipeline(
        transformer=transformer,
        scheduler=flow_scheduler(use_dynamic_shifting=guided),
        vae=vae(1, shift_factor=0.1, scaling_factor=1.5),
        text_encoder=clip(tokenizer, 32),
        text_encoder_2=t5(words),
        tokenizer=tokenizer,
        tokenizer_2=words,
    )


def _pixart(folder: Path) -> Any:
    import diffusers

    words = words_tokenizer()
    transformer = diffusers.PixArtTransformer2DModel(
        sample_size=8,
        num_layers=1,
        patch_size=2,
        attention_head_dim=8,
        num_attention_heads=3,
        caption_channels=32,
        in_channels=4,
        cross_attention_dim=24,
        out_channels=8,
        norm_type="ada_norm_single",
        norm_elementwise_affine=False,
        use_additional_conditions=False,
    )
    return diffusers.PixArtSigmaPipeline(
        transformer=transformer,
        scheduler=diffusers.DPMSolverMultistepScheduler(),
        vae=vae(),
        text_encoder=t5(words),
        tokenizer=words,
    )


def _sana(folder: Path, *, sprint: bool = False) -> Any:
    import diffusers
    from transformers import Gemma2Config, Gemma2Model

    words = words_tokenizer()
    transformer = diffusers.SanaTransformer2DModel(
        patch_size=1,
        in_channels=4,
        out_channels=4,
        num_layers=1,
        num_attention_heads=2,
        attention_head_dim=4,
        num_cross_attention_heads=2,
        cross_attention_head_dim=4,
        cross_attention_dim=8,
        caption_channels=8,
        sample_size=32 // 4,
        **({"guidance_embeds": True, "qk_norm": "rms_norm_across_heads"} if sprint else {}),
    )
    vae = diffusers.AutoencoderDC(
        in_channels=3,
        latent_channels=4,
        attention_head_dim=2,
        encoder_block_types=("ResBlock", "EfficientViTBlock", "ResBlock"),
        decoder_block_types=("ResBlock", "EfficientViTBlock", "ResBlock"),
        encoder_block_out_channels=(8, 8, 8),
        decoder_block_out_channels=(8, 8, 8),
        encoder_qkv_multiscales=((), (5,), ()),
        decoder_qkv_multiscales=((), (5,), ()),
        encoder_layers_per_block=(1, 1, 1),
        decoder_layers_per_block=(1, 1, 1),
        downsample_block_type="conv",
        upsample_block_type="interpolate",
        decoder_norm_types="rms_norm",
        decoder_act_fns="silu",
        scaling_factor=0.41407,
    )
    gemma = Gemma2Config(
        head_dim=4,
        hidden_size=8,
        intermediate_size=8,
        num_attention_heads=2,
        num_hidden_layers=1,
        num_key_value_heads=2,
        vocab_size=len(words),
    )
    kind = diffusers.SanaSprintPipeline if sprint else diffusers.SanaPipeline
    scheduler = (
        diffusers.SCMScheduler()
        if sprint
        else diffusers.DPMSolverMultistepScheduler(
            prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0
        )
    )
    return kind(
        transformer=transformer, vae=vae, text_encoder=Gemma2Model(gemma).eval(), tokenizer=words, scheduler=scheduler
    )


def _aura(folder: Path) -> Any:
    import diffusers

    words = words_tokenizer()
    transformer = diffusers.AuraFlowTransformer2DModel(
        sample_size=8,
        patch_size=2,
        in_channels=4,
        num_mmdit_layers=1,
        num_single_dit_layers=1,
        attention_head_dim=8,
        num_attention_heads=4,
        caption_projection_dim=32,
        joint_attention_dim=32,
        out_channels=4,
        pos_embed_max_size=256,
    )
    return diffusers.AuraFlowPipeline(
        transformer=transformer,
        scheduler=flow_scheduler(),
        vae=vae(),
        text_encoder=t5(words, kind="UMT5"),
        tokenizer=words,
    )


def _kandinsky(folder: Path) -> None:
    """Save the decoder, whose model card names the prior, in a folder of its own inside."""
    import diffusers
    from transformers import CLIPImageProcessor, CLIPVisionConfig, CLIPVisionModelWithProjection

    width = 16
    unet = diffusers.UNet2DConditionModel(
        sample_size=16,
        in_channels=4,
        out_channels=8,
        addition_embed_type="image",
        down_block_types=("ResnetDownsampleBlock2D", "SimpleCrossAttnDownBlock2D"),
        mid_block_type="UNetMidBlock2DSimpleCrossAttn",
        up_block_types=("SimpleCrossAttnUpBlock2D", "ResnetUpsampleBlock2D"),
        block_out_channels=(32, 64),
        layers_per_block=1,
        encoder_hid_dim=width,
        encoder_hid_dim_type="image_proj",
        cross_attention_dim=width,
        attention_head_dim=4,
        norm_num_groups=8,
        resnet_time_scale_shift="scale_shift",
    )
    movq = diffusers.VQModel(
        block_out_channels=(32, 64),
        down_block_types=("DownEncoderBlock2D", "AttnDownEncoderBlock2D"),
        up_block_types=("AttnUpDecoderBlock2D", "UpDecoderBlock2D"),
        latent_channels=4,
        norm_num_groups=8,
        norm_type="spatial",
        num_vq_embeddings=12,
        vq_embed_dim=4,
    )
    linear = {"beta_schedule": "linear", "beta_start": 0.00085, "beta_end": 0.012}
    scheduler = diffusers.DDIMScheduler(**linear, clip_sample=False, set_alpha_to_one=False, steps_offset=0)
    diffusers.KandinskyV22Pipeline(unet=unet, scheduler=scheduler, movq=movq).save_pretrained(folder)
    tokenizer = clip_tokenizer(folder / "its-prior")
    vision = CLIPVisionConfig(
        hidden_size=width,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        image_size=32,
        patch_size=16,
        projection_dim=width,
    )
    prior = diffusers.PriorTransformer(
        num_attention_heads=2, attention_head_dim=8, num_layers=1, embedding_dim=width, num_embeddings=LENGTH
    )
    diffusers.KandinskyV22PriorPipeline(
        prior=prior,
        image_encoder=CLIPVisionModelWithProjection(vision).eval(),
        text_encoder=clip(tokenizer, width, projection=width),
        tokenizer=tokenizer,
        scheduler=diffusers.UnCLIPScheduler(
            variance_type="fixed_small_log", prediction_type="sample", clip_sample_range=10.0
        ),
        image_processor=CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}),
    ).save_pretrained(folder / "its-prior")
    (folder / "README.md").write_text("---\nprior:\n- its-prior\n---\n", encoding="utf-8")


_CHAT = "{% for m in messages %}<bos> {{ m.content }} </s>{% endfor %}"


def _zimage(folder: Path) -> Any:
    import diffusers
    from transformers import Qwen3Config, Qwen3Model

    words = words_tokenizer()
    words.chat_template = _CHAT
    text = Qwen3Config(
        vocab_size=len(words),
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        head_dim=8,
    )
    transformer = diffusers.ZImageTransformer2DModel(
        in_channels=4,
        dim=32,
        n_layers=1,
        n_refiner_layers=1,
        n_heads=2,
        n_kv_heads=2,
        cap_feat_dim=16,
        axes_dims=[8, 4, 4],
        axes_lens=[256, 32, 32],
    )
    return diffusers.ZImagePipeline(
        transformer=transformer,
        scheduler=flow_scheduler(shift=3.0),
        vae=vae(shift_factor=0.1159, scaling_factor=0.3611),
        text_encoder=Qwen3Model(text).eval(),
        tokenizer=words,
    )


def _qwen_image(folder: Path) -> Any:
    import diffusers
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    words = words_tokenizer()
    rope = {"mrope_section": [1, 1, 2], "rope_type": "default", "rope_theta": 1e6}
    text = {
        "vocab_size": len(words),
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "rope_parameters": rope,
    }
    vision = {"depth": 1, "hidden_size": 16, "intermediate_size": 16, "num_heads": 2, "out_hidden_size": 16}
    transformer = diffusers.QwenImageTransformer2DModel(
        in_channels=16,
        out_channels=4,
        num_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=16,
        axes_dims_rope=(8, 4, 4),
    )
    vae = diffusers.AutoencoderKLQwenImage(
        base_dim=8,
        z_dim=4,
        dim_mult=[1, 2, 4],
        num_res_blocks=1,
        temperal_downsample=[False, True],
        latents_mean=[0.0] * 4,
        latents_std=[1.0] * 4,
    )
    encoder = Qwen2_5_VLForConditionalGeneration(Qwen2_5_VLConfig(text_config=text, vision_config=vision))
    return diffusers.QwenImagePipeline(
        transformer=transformer,
        scheduler=flow_scheduler(),
        vae=vae,
        text_encoder=encoder.eval(),
        tokenizer=words,
    )


FAMILIES: dict[str, Callable[[Path], Any]] = {
    "sd": _sd,
    "lcm": _lcm,
    "sdxl": _sdxl,
    "sdxl-turbo": partial(_sdxl, timestep_spacing="trailing"),
    "sd3": _sd3,
    "pixart-sigma": _pixart,
    "flux-dev": partial(_flux, guided=True),
    "flux-schnell": partial(_flux, guided=False),
    "sana": _sana,
    "sana-sprint": partial(_sana, sprint=True),
    "auraflow": _aura,
    "kandinsky-2.2": _kandinsky,
    "z-image": _zimage,
    "qwen-image": _qwen_image,
}
