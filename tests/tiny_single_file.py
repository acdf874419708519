"""A Stable Diffusion checkpoint in the one file of its authors' own format, made from one of diffusers'."""

import re
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

_RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "time_emb_proj": "emb_layers.1",
    "conv_shortcut": "skip_connection",
}
_AROUND = {
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}
_ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}


def save_single_file(checkpoint: Path, file: Path) -> Path:
    """Write the weights of a `StableDiffusionPipeline`'s folder as one file of the first Stable Diffusion's format.

    Parameters
    ----------
    checkpoint : Path
        From `save_text_to_image`: one layer a block, three levels in the autoencoder.
    file : Path
    """
    parts = [load_file(next((checkpoint / name).glob("*.safetensors"))) for name in ("unet", "vae", "text_encoder")]
    tensors = {f"model.diffusion_model.{_unet(name)}": tensor for name, tensor in parts[0].items()}
    for name, tensor in parts[1].items():
        renamed = _vae(name)
        square = ".attn_1." in renamed and renamed.endswith("weight") and ".norm." not in renamed
        tensors[f"first_stage_model.{renamed}"] = tensor[:, :, None, None].contiguous() if square else tensor
    for name, tensor in parts[2].items():
        inner = name if name.startswith("text_model.") else f"text_model.{name}"
        tensors[f"cond_stage_model.transformer.{inner}"] = tensor
    save_file({name: tensor.to(torch.float32) for name, tensor in tensors.items()}, file)
    return file


def _unet(name: str) -> str:
    for ours, theirs in _AROUND.items():
        if name.startswith(f"{ours}."):
            return name.replace(ours, theirs, 1)
    layer = re.fullmatch(
        r"(down|up|mid)_block(?:s\.(\d+))?\.(resnets|attentions|downsamplers|upsamplers)\.(\d+)\.(.+)", name
    )
    assert layer, name
    where, block, kind, number, rest = layer[1], int(layer[2] or 0), layer[3], int(layer[4]), layer[5]
    if kind == "resnets":
        rest = next(rest.replace(ours, theirs, 1) for ours, theirs in _RESNET.items() if rest.startswith(f"{ours}."))
    if where == "mid":
        return f"middle_block.{1 if kind == 'attentions' else 2 * number}.{rest}"
    if where == "down":
        if kind == "downsamplers":
            return f"input_blocks.{2 * (block + 1)}.0.{rest.replace('conv', 'op', 1)}"
        return f"input_blocks.{2 * block + number + 1}.{int(kind == 'attentions')}.{rest}"
    if kind == "upsamplers":
        return f"output_blocks.{2 * block + 1}.1.{rest}"  # the first block of the tiny UNet has no attention
    return f"output_blocks.{2 * block + number}.{int(kind == 'attentions')}.{rest}"


def _vae(name: str) -> str:
    name = re.sub(r"encoder\.down_blocks\.(\d+)\.resnets\.", r"encoder.down.\1.block.", name)
    name = re.sub(r"encoder\.down_blocks\.(\d+)\.downsamplers\.0\.", r"encoder.down.\1.downsample.", name)
    name = re.sub(r"decoder\.up_blocks\.(\d+)\.resnets\.", lambda m: f"decoder.up.{2 - int(m[1])}.block.", name)
    name = re.sub(
        r"decoder\.up_blocks\.(\d+)\.upsamplers\.0\.", lambda m: f"decoder.up.{2 - int(m[1])}.upsample.", name
    )
    name = re.sub(r"mid_block\.resnets\.(\d+)\.", lambda m: f"mid.block_{int(m[1]) + 1}.", name)
    if "mid_block.attentions.0." in name:
        head, rest = name.split("mid_block.attentions.0.")
        rest = next(rest.replace(ours, theirs, 1) for ours, theirs in _ATTENTION.items() if rest.startswith(ours))
        return f"{head}mid.attn_1.{rest}"
    return name.replace("conv_shortcut", "nin_shortcut").replace("conv_norm_out", "norm_out")
