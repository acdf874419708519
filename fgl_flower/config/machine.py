"""Devices, engines and time limits."""

from typing import Literal

from pydantic import Field

from fgl_flower.config.part import Part


class MachineConfig(Part):
    """A part of `RunConfig`; the descriptions of the fields give unit and range."""

    device: str = Field(
        "auto", pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$", description="Device: auto, cpu, mps, cuda or cuda:N."
    )
    synthesis_batch_size: int = Field(0, ge=0, description="Images drawn at once; 0: chosen from free memory.")
    offload: Literal["none", "model", "sequential"] = Field(
        "none",
        description="What of the generator waits in the host's memory: nothing, components that are not at work "
        "(model), or all layers but the one at work (sequential, slow). Accelerators only.",
    )
    vae_slicing: bool = Field(False, description="Decode one image at a time, which saves memory. Accelerators only.")
    vae_tiling: bool = Field(
        False,
        description="Decode large images in tiles, which saves memory and changes them slightly. Accelerators only.",
    )
    compile: Literal["auto", "always", "never"] = Field(
        "auto",
        description="Compile the generator's denoiser (torch.compile): auto: a Stable Diffusion pipeline's, where so "
        "many images are drawn that it pays. Accelerators and the local engine only.",
    )
    synthesis_engine: Literal["local", "ray"] = Field(
        "local", description="Where images are drawn: this process or Ray actors."
    )
    synthesis_actors: int = Field(1, ge=1, description="Ray engine: number of actors.")
    ray_address: str = Field(
        "", description="Ray engine: address of a running cluster; empty: RAY_ADDRESS, else this machine."
    )
    client_workers: int = Field(
        0,
        ge=0,
        description="Simulation: clients that work at the same time, as threads or as Ray actors; 0: as many as "
        "the cores hold (on a GPU in process: one).",
    )
    client_cpus: int = Field(
        1,
        ge=1,
        description="Simulation: threads of a client; the last bits of a training depend on them, so every engine and "
        "machine gives each client the same.",
    )
    client_gpus: float = Field(
        0.0, ge=0, description="Simulation by Ray: GPUs of a client, a fraction or more; 0: all of them shared evenly."
    )
    min_clients: int = Field(
        0,
        ge=0,
        description="Clients that are enough to begin a run, and to answer a round; 0: all to begin, one to answer.",
    )
    node_timeout: float = Field(
        120.0, gt=0, description="Seconds to wait for the expected clients before the first round."
    )
    round_timeout: float = Field(3600.0, gt=0, description="Seconds to wait for the clients' replies in a round.")
    prompt_timeout: float = Field(
        0.0, ge=0, description="Seconds to wait for replies in a prompt round; 0: round-timeout."
    )
