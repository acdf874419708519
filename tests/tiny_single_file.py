"""Stable Diffusion 1, XL and 3 in the one file of their authors' own formats, made from diffusers' folders."""

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
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}
_OPEN_CLIP = {
    "text_model.embeddings.token_embedding.weight": "token_embedding.weight",
    "text_model.embeddings.position_embedding.weight": "positional_embedding",
    "text_model.final_layer_norm": "ln_final",
    "text_model.encoder.layers": "transformer.resblocks",
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
    "self_attn": "attn",
}
_SD3 = {
    "pos_embed.pos_embed": "pos_embed",
    "pos_embed.proj": "x_embedder.proj",
    "time_text_embed.timestep_embedder.linear_1": "t_embedder.mlp.0",
    "time_text_embed.timestep_embedder.linear_2": "t_embedder.mlp.2",
    "time_text_embed.text_embedder.linear_1": "y_embedder.mlp.0",
    "time_text_embed.text_embedder.linear_2": "y_embedder.mlp.2",
    "norm_out.linear": "final_layer.adaLN_modulation.1",
    "transformer_blocks": "joint_blocks",
    "norm1.linear": "x_block.adaLN_modulation.1",
    "norm1_context.linear": "context_block.adaLN_modulation.1",
    "attn.to_q": "x_block.attn.qkv",
    "attn.add_q_proj": "context_block.attn.qkv",
    "attn.to_out.0": "x_block.attn.proj",
    "ff.net.0.proj": "x_block.mlp.fc1",
    "ff.net.2": "x_block.mlp.fc2",
    "proj_out": "final_layer.linear",
}
_ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}


def save_single_file(checkpoint: Path, file: Path) -> Path:
    """Write the weights of a Stable Diffusion 1, XL or 3 pipeline's folder as one file; of 3 without text encoders.

    Parameters
    ----------
    checkpoint : Path
        From `save_text_to_image` or `save_family`: one layer a block, three levels in the autoencoder.
    file : Path
    """
    third = (checkpoint / "transformer").is_dir()
    denoiser = _sd3(_weights(checkpoint / "transformer")) if third else _unet(_weights(checkpoint / "unet"))
    tensors = {f"model.diffusion_model.{name}": tensor for name, tensor in denoiser.items()}
    for name, tensor in _weights(checkpoint / "vae").items():
        renamed = _vae(name)
        square = ".attn_1." in renamed and renamed.endswith("weight") and ".norm." not in renamed
        tensors[f"first_stage_model.{renamed}"] = tensor[:, :, None, None] if square else tensor
    if not third:
        xl = (checkpoint / "text_encoder_2").is_dir()
        for name, tensor in _weights(checkpoint / "text_encoder").items():
            inner = name if name.startswith("text_model.") else f"text_model.{name}"
            tensors[f"{'conditioner.embedders.0' if xl else 'cond_stage_model'}.transformer.{inner}"] = tensor
        for name, tensor in _open_clip(_weights(checkpoint / "text_encoder_2")).items() if xl else ():
            tensors[f"conditioner.embedders.1.model.{name}"] = tensor
    save_file({name: tensor.to(torch.float32).contiguous() for name, tensor in tensors.items()}, file)
    return file


def _sd3(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return the weights of a transformer of one block, the last, by the names of Stable Diffusion 3."""
    result = {}
    for name, tensor in tensors.items():
        if any(part in name for part in (".to_k.", ".to_v.", ".add_k_proj.", ".add_v_proj.")):
            continue
        if ".to_q." in name or ".add_q_proj." in name:
            tensor = torch.cat([tensors[name.replace("_q", f"_{one}")] for one in "qkv"])
        if name.startswith("norm_out") or ".norm1_context." in name:  # scale and shift, theirs the other way round
            tensor = torch.cat(tensor.chunk(2)[::-1])
        for ours, theirs in _SD3.items():
            name = name.replace(ours, theirs)
        result[name] = tensor
    return result


def _weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(next(folder.glob("*.safetensors")))


def _open_clip(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return the weights of a CLIP text encoder by OpenCLIP's names, queries, keys and values in one."""
    result = {"text_projection": tensors["text_projection.weight"].T}
    for name, tensor in tensors.items():
        if name == "text_projection.weight" or ".k_proj." in name or ".v_proj." in name:
            continue
        if ".q_proj." in name:
            tensor = torch.cat([tensors[name.replace(".q_proj.", f".{one}_proj.")] for one in "qkv"])
        for ours, theirs in _OPEN_CLIP.items():
            name = name.replace(ours, theirs)
        result[name.replace(".q_proj.", ".in_proj_")] = tensor
    return result


def _unet(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    attending = {name.split(".")[1] for name in tensors if name.startswith("up_blocks.") and ".attentions." in name}
    return {_unet_name(name, attending): tensor for name, tensor in tensors.items()}


def _unet_name(name: str, attending: set[str]) -> str:
    """Return a tensor's name; `attending` are the numbers of the upward blocks with attention."""
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
        return f"output_blocks.{2 * block + 1}.{1 + (layer[2] in attending)}.{rest}"
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
