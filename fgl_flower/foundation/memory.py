"""How a generator gets by with less of an accelerator's memory: by diffusers' own means."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Self

if TYPE_CHECKING:
    import torch

    from fgl_flower.config import MachineConfig


@dataclass(frozen=True)
class Memory:
    """What is done to save memory; nothing of it on a CPU.

    Attributes
    ----------
    offload : str
        "model": a component is on the accelerator while it works; "sequential": a layer; "none": all of them, always.
    vae_slicing : bool
        Whether the autoencoder decodes an image at a time.
    vae_tiling : bool
        Whether it decodes large images in tiles, which changes them slightly.
    """

    offload: Literal["none", "model", "sequential"] = "none"
    vae_slicing: bool = False
    vae_tiling: bool = False

    @classmethod
    def of(cls, config: "MachineConfig") -> Self:
        """Return what a run configuration asks for."""
        return cls(config.offload, config.vae_slicing, config.vae_tiling)

    def place(self, pipeline: Any, device: "torch.device") -> Any:
        """Return the pipeline on its device.

        Raises
        ------
        RuntimeError
            If its autoencoder knows no slices or tiles.
        """
        if device.type == "cpu":
            return pipeline.to(device)
        if (self.vae_slicing or self.vae_tiling) and not hasattr(pipeline, "vae"):
            raise RuntimeError("its autoencoder knows no slices or tiles: set vae-slicing and vae-tiling to false")
        if self.vae_slicing:
            pipeline.vae.enable_slicing()
        if self.vae_tiling:
            pipeline.vae.enable_tiling()
        if self.offload == "none":
            return pipeline.to(device)
        if self.offload == "model":
            pipeline.enable_model_cpu_offload(device=device)
        else:
            pipeline.enable_sequential_cpu_offload(device=device)
        return pipeline


RESIDENT = Memory()
