"""One training loop for every stage of the recipe: AdamW, warm-up and decay, moving average, exact resumption.

The models are so small that a GPU would wait for its launches; there the whole step is captured once as a CUDA graph
and replayed, which is several times faster.
"""

import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from tqdm import tqdm

LossOf = Callable[[torch.Generator], Tensor]
_WARM_UP = 3  # eager steps before capture, as the CUDA allocator and libraries need


class OutOfTimeError(RuntimeError):
    """The time set aside ran out; progress is saved and the same command goes on."""


@dataclass(frozen=True)
class Schedule:
    """How long and how fast to train.

    Attributes
    ----------
    steps : int
        Optimiser steps; the learning rate falls linearly to zero over the last 30 %.
    learning_rate : float
        Peak rate, reached after 200 steps.
    ema : float
        Decay of the moving average of the weights, 0..1; 0 keeps none.
    """

    steps: int
    learning_rate: float
    ema: float = 0.999

    def rate(self, step: int) -> float:
        """Return the learning rate of a step."""
        decay = (self.steps - step) / max(1.0, 0.3 * self.steps)
        return self.learning_rate * min(1.0, (step + 1) / 200, decay)


def fit(
    name: str,
    model: nn.Module,
    loss_of: LossOf,
    schedule: Schedule,
    checkpoint: Path,
    *,
    seed: int,
    deadline: float | None = None,
    save_every: float = 60.0,
) -> float:
    """Train `model` in place and leave its moving average in it. Interrupted and called again, it goes on where it was.

    Parameters
    ----------
    loss_of : callable
        generator on the model's device -> scalar loss. Draw all randomness from the generator: it is seeded afresh by
        (seed, step), which is what makes a resumed run equal an uninterrupted one. On a GPU it must not wait for the
        device (no `.item()`, no copies from the host).
    checkpoint : Path
        safetensors file that holds weights, moving average, optimiser state and step; written atomically.
    deadline : float, optional
        `time.monotonic()` value after which to save and stop.
    save_every : float
        Seconds between checkpoints.

    Returns
    -------
    float
        Mean loss of the last 100 steps.

    Raises
    ------
    OutOfTimeError
        When the deadline passes before the last step.
    """
    device = next(model.parameters()).device
    on_gpu = device.type == "cuda"
    if on_gpu:
        torch.cuda.synchronize()
        torch.cuda.set_stream(torch.cuda.Stream(device))  # capture is not allowed on the default stream
    weights: list[Tensor] = [p for p in model.parameters() if p.requires_grad]
    rate = torch.tensor(schedule.learning_rate, device=device)
    optimiser = torch.optim.AdamW(weights, lr=rate, weight_decay=0.01, fused=True, capturable=on_gpu)
    average = [w.detach().clone() for w in weights]
    start = step = _resume(checkpoint, weights, average, optimiser)
    generator = torch.Generator(device)

    def advance() -> Tensor:
        optimiser.zero_grad(set_to_none=True)
        loss = loss_of(generator)
        loss.backward()
        nn.utils.clip_grad_norm_(weights, 1.0)
        optimiser.step()
        return loss.detach()

    recent = torch.zeros(100, device=device)
    saved = time.monotonic()
    model.train()
    act = advance
    bar = tqdm(total=schedule.steps, initial=step, desc=name, mininterval=5.0, smoothing=0.05)
    while step < schedule.steps:
        if on_gpu and step == start + _WARM_UP:
            act = _capture(advance, generator)
        generator.manual_seed(seed * 1_000_003 + step)
        for group in optimiser.param_groups:
            group["lr"].fill_(schedule.rate(step))
        recent[step % 100] = act()
        memory = min(schedule.ema, (1 + step) / (10 + step))  # short at first: the beginning is not worth keeping
        torch._foreach_lerp_(average, [w.detach() for w in weights], 1 - memory)
        step += 1
        bar.update()
        if step % 500 == 0:
            bar.set_postfix(loss=f"{recent.mean().item():.4f}")
        now = time.monotonic()
        late = deadline is not None and now > deadline
        if step == schedule.steps or late or now - saved > save_every:
            _save(checkpoint, weights, average, optimiser, step)
            saved = now
        if late and step < schedule.steps:
            raise OutOfTimeError(f"{name}: stopped at step {step} of {schedule.steps}")
    bar.close()
    with torch.no_grad():
        torch._foreach_copy_(weights, average)
    model.eval()
    return float(recent[: min(step, 100)].mean())


def _capture(advance: Callable[[], Tensor], generator: torch.Generator) -> Callable[[], Tensor]:
    """Record one training step as a CUDA graph; each call of the result replays it with the generator's new seed."""
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    graph.register_generator_state(generator)
    with torch.cuda.graph(graph, stream=torch.cuda.current_stream()):
        loss = advance()

    def replay() -> Tensor:
        graph.replay()
        return loss

    return replay


def _save(
    path: Path, weights: list[Tensor], average: list[Tensor], optimiser: torch.optim.Optimizer, step: int
) -> None:
    tensors: dict[str, Tensor] = {f"weight.{i}": w for i, w in enumerate(weights)}
    tensors |= {f"average.{i}": a for i, a in enumerate(average)}
    for i, state in optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser.{i}.{k}": v for k, v in state.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".tmp")
    own = {k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()}
    save_file(own, draft, metadata={"step": json.dumps(step)})
    os.replace(draft, path)


def _resume(path: Path, weights: list[Tensor], average: list[Tensor], optimiser: torch.optim.Optimizer) -> int:
    if not path.exists():
        return 0
    states: dict[int, dict[str, Tensor]] = {}
    with safe_open(path, "pt") as file, torch.no_grad():
        step = int(json.loads(file.metadata()["step"]))
        for i, (weight, mean) in enumerate(zip(weights, average, strict=True)):
            weight.copy_(file.get_tensor(f"weight.{i}"))
            mean.copy_(file.get_tensor(f"average.{i}"))
        for key in file.keys():  # noqa: SIM118 (safe_open is no dict)
            if key.startswith("optimiser."):
                _, index, name = key.split(".", 2)
                states.setdefault(int(index), {})[name] = file.get_tensor(key)
    optimiser.load_state_dict({"state": states, "param_groups": optimiser.state_dict()["param_groups"]})
    return step
