"""Shapes and compilation: how many images a call of the denoiser draws, on how many replicas, and whether to compile.

On a CPU the shape of a call is fixed by the image size alone and every replica runs on one thread: the sums inside a
matrix product are split by batch size and thread count, and splitting them otherwise moves the result by about 1e-6,
which flips one 8-bit pixel in some five 32x32 images. With one shape and one thread an image has the same bits whatever
batch, engine or replica draws it. One thread a replica is also the faster way to use several cores on small images.
"""

import os
import time
from contextlib import AbstractContextManager, nullcontext

import torch

from fgl_flower.foundation.generator import Generator
from fgl_flower.foundation.speed import compile_repeated_blocks, denoiser_of, repeats_blocks
from fgl_flower.learning.threads import torch_threads
from fgl_flower.synthesis.plan import PlannedImage
from fgl_flower.synthesis.prompt_cache import PromptCache, fast_path
from fgl_flower.synthesis.sampler import Sampler
from fgl_flower.synthesis.settings import SamplingSettings

CPU_ROWS = 32
CPU_LATENTS = 2048  # latent positions of a call on a CPU: 32 images of 8x8, one of 64x64
GPU_LATENTS = 64 * 64 * 64  # 64 images of 512 px fill the largest accelerator; more only delays the first image
MEMORY_SHARE = 0.7  # of the free memory: the rest is for the decoder and for what the probe did not see
COMPILE_SECONDS = 150.0  # Stable Diffusion's denoiser and decoder, cold
COMPILE_GAIN = 0.2  # share of the drawing time that compilation saves, cautiously


def latent_side(settings: SamplingSettings, generator: Generator) -> int:
    """Return the side of the latent, or of the eighth of the image where the pipeline tells no scale."""
    return max(1, settings.size // getattr(generator.pipeline, "vae_scale_factor", 8))


def replicas_for(generator: Generator) -> int:
    """Return how many samplers draw side by side: one a core of a CPU, one on an accelerator."""
    if generator.device.type != "cpu":
        return 1
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def one_thread_each(generator: Generator) -> AbstractContextManager[None]:
    """Run torch's operators on the calling thread alone while replicas draw on a CPU."""
    return torch_threads(1) if generator.device.type == "cpu" else nullcontext()


def prepare(generator: Generator) -> None:
    """Lay out weights as the device's convolutions like them best."""
    if fast_path(generator) and not generator.offloaded:
        generator.pipeline.unet.to(memory_format=torch.channels_last)
        generator.pipeline.vae.to(memory_format=torch.channels_last)
    if generator.device.type == "cuda":
        torch.backends.cudnn.benchmark = True
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True


def rows_for(prompts: PromptCache, probe: PlannedImage, wanted: int = 0, memory_share: float = 1.0) -> int:
    """Return how many images a call of the denoiser draws.

    Parameters
    ----------
    prompts : PromptCache
        With the probe's prompt encoded.
    probe : PlannedImage
        Drawn once on an accelerator to see what an image needs.
    wanted : int
        Taken as it is on an accelerator; 0: chosen from free memory. On a CPU it has no say.
    memory_share : float
        Share of the device that is ours, in (0, 1].
    """
    generator, settings = prompts.generator, prompts.settings
    area = latent_side(settings, generator) ** 2
    if generator.device.type == "cpu":
        return max(1, min(CPU_ROWS, CPU_LATENTS // area))
    if wanted:
        return wanted
    ceiling = max(1, GPU_LATENTS // area)
    if generator.device.type != "cuda":
        return min(ceiling, CPU_ROWS)
    rows = 2
    torch.cuda.synchronize(generator.device)
    torch.cuda.reset_peak_memory_stats(generator.device)
    before = torch.cuda.memory_allocated(generator.device)
    sampler = Sampler(prompts, rows)
    sampler.draw([probe] * rows)
    torch.cuda.synchronize(generator.device)
    each = (torch.cuda.max_memory_allocated(generator.device) - before) / sampler.rows  # may have been halved
    torch.cuda.empty_cache()
    free, total = torch.cuda.mem_get_info(generator.device)
    fitting = int(MEMORY_SHARE * min(free, memory_share * total) / max(each, 1.0))
    rows = max(1, min(ceiling, fitting))
    return rows - rows % 16 if rows >= 16 else rows


def worth_compiling(sampler: Sampler, probe: PlannedImage, images: int) -> bool:
    """Return whether the drawing time that compilation saves pays for compiling; never on a CPU (see above)."""
    if sampler.generator.device.type != "cuda" or not sampler.fast or sampler.generator.offloaded:
        return False
    for _ in range(2):  # the first call chooses cuDNN's algorithms
        torch.cuda.synchronize(sampler.generator.device)
        began = time.perf_counter()
        sampler.draw([probe] * sampler.rows)
        torch.cuda.synchronize(sampler.generator.device)
    seconds = (time.perf_counter() - began) * images / sampler.rows
    return COMPILE_GAIN * seconds > COMPILE_SECONDS


def compile_modules(generator: Generator) -> None:
    """Compile in place, for one shape each; once is enough.

    In our own loop denoiser and decoder are compiled as a whole. A pipeline that is called as it is has its denoiser
    compiled, block by block where diffusers knows them.
    """
    pipeline, denoiser = generator.pipeline, denoiser_of(generator.pipeline)
    if not fast_path(generator) and repeats_blocks(denoiser):
        compile_repeated_blocks(denoiser)
        return
    for module in (denoiser, pipeline.vae.decoder) if fast_path(generator) else (denoiser,):
        if module._compiled_call_impl is None:
            module.compile(fullgraph=True, dynamic=False)
