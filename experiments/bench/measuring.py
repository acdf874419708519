"""Measures for benchmarks: floating-point operations, the rate of matrix products, peak memory, medians with spread."""

import statistics
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from fgl_flower.foundation.generator import Generator
from fgl_flower.synthesis.settings import SamplingSettings

MATMUL_SIDE = 8192
SAMPLE_SECONDS = 0.02


@dataclass(frozen=True)
class Spread:
    """Median, smallest and largest of some repetitions."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """Return the spread of at least one value."""
        return cls(statistics.median(values), min(values), max(values))

    def __str__(self) -> str:
        return f"{self.median:.3g} ({self.low:.3g}-{self.high:.3g})"


@contextmanager
def peak_memory(device: torch.device) -> Iterator[Callable[[], int]]:
    """Yield a function that tells the peak memory since: allocated bytes of a CUDA device, else resident bytes."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        yield lambda: torch.cuda.max_memory_allocated(device)
        return
    peak, stop = [resident_bytes()], threading.Event()

    def watch() -> None:
        while not stop.wait(SAMPLE_SECONDS):
            peak[0] = max(peak[0], resident_bytes())

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield lambda: peak[0]
    finally:
        stop.set()
        thread.join()


def resident_bytes() -> int:
    """Return this process's resident memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def synchronise(device: torch.device) -> None:
    """Wait for the device's work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def matmul_rate(device: torch.device, dtype: torch.dtype, repeats: int = 30) -> float:
    """Return the measured rate of a large square matrix product, in floating-point operations a second."""
    side = MATMUL_SIDE if device.type == "cuda" else MATMUL_SIDE // 8
    a, b = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    seconds = []
    for _ in range(repeats):
        synchronise(device)
        began = time.perf_counter()
        a @ b
        synchronise(device)
        seconds.append(time.perf_counter() - began)
    return 2 * side**3 / statistics.median(seconds)


@torch.inference_mode()
def operations_per_image(generator: Generator, settings: SamplingSettings) -> float:
    """Return the floating-point operations of one image: its denoiser calls and its decoding.

    Counted by torch's own counter on one image, a multiply-add as two; the text encoder (once a prompt) is left out.
    """
    from torch.utils.flop_counter import FlopCounterMode

    pipeline, device = generator.pipeline, generator.device
    side = settings.size // pipeline.vae_scale_factor
    dtype = pipeline.unet.dtype
    latents = torch.zeros(1, pipeline.unet.config.in_channels, side, side, device=device, dtype=dtype)
    text = torch.zeros(
        1, pipeline.tokenizer.model_max_length, pipeline.unet.config.cross_attention_dim, device=device, dtype=dtype
    )
    more: dict[str, Any] = {}
    if (projection := getattr(pipeline, "text_encoder_2", None)) is not None:  # SDXL's pooled vector, and six sizes
        pooled = torch.zeros(1, projection.config.projection_dim, device=device, dtype=dtype)
        sizes = torch.zeros(1, 6, device=device, dtype=dtype)
        more["added_cond_kwargs"] = {"text_embeds": pooled, "time_ids": sizes}
    with FlopCounterMode(display=False) as denoiser:
        pipeline.unet(latents, torch.tensor(1, device=device), encoder_hidden_states=text, **more)
    with FlopCounterMode(display=False) as decoder:
        pipeline.vae.decode(latents)
    calls = sum(2 if _guided(settings, i) else 1 for i in range(settings.steps))
    return calls * denoiser.get_total_flops() + decoder.get_total_flops()


def _guided(settings: SamplingSettings, step: int) -> bool:
    inside = settings.guidance_from * settings.steps <= step < settings.guidance_until * settings.steps
    return settings.guided and inside
