"""One training loop for every stage of the recipe: AdamW, warm-up and decay, moving average, exact resumption."""

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
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import tqdm

StepLoss = Callable[[int, torch.Generator], Tensor]


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
    loss_of: StepLoss,
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
        (step, generator on the model's device) -> scalar loss. Draw all randomness from the generator: it is seeded
        afresh by (seed, step), which is what makes a resumed run equal an uninterrupted one.
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
    optimiser = torch.optim.AdamW(model.parameters(), lr=schedule.learning_rate, weight_decay=0.01, fused=True)
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(schedule.ema))
    step = _resume(checkpoint, model, average, optimiser)
    generator = torch.Generator(device)
    recent = torch.zeros(100, device=device)
    saved = time.monotonic()
    model.train()
    bar = tqdm(total=schedule.steps, initial=step, desc=name, mininterval=5.0, smoothing=0.05)
    while step < schedule.steps:
        generator.manual_seed(seed * 1_000_003 + step)
        for group in optimiser.param_groups:
            group["lr"] = schedule.rate(step)
        loss = loss_of(step, generator)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        average.update_parameters(model)
        recent[step % 100] = loss.detach()
        step += 1
        bar.update()
        if step % 100 == 0:
            bar.set_postfix(loss=f"{recent.mean().item():.4f}")
        now = time.monotonic()
        late = deadline is not None and now > deadline
        if step == schedule.steps or late or now - saved > save_every:
            _save(checkpoint, model, average, optimiser, step)
            saved = now
        if late and step < schedule.steps:
            raise OutOfTimeError(f"{name}: stopped at step {step} of {schedule.steps}")
    bar.close()
    if schedule.ema:
        model.load_state_dict(average.module.state_dict())
    model.eval()
    return float(recent[: min(step, 100)].mean())


def _save(path: Path, model: nn.Module, average: AveragedModel, optimiser: torch.optim.Optimizer, step: int) -> None:
    tensors = {f"model.{k}": v for k, v in model.state_dict().items()}
    tensors |= {f"average.{k}": v for k, v in average.state_dict().items()}
    for i, state in optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser.{i}.{k}": v for k, v in state.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".tmp")
    own = {k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()}
    save_file(own, draft, metadata={"step": json.dumps(step)})
    os.replace(draft, path)


def _resume(path: Path, model: nn.Module, average: AveragedModel, optimiser: torch.optim.Optimizer) -> int:
    if not path.exists():
        return 0
    with safe_open(path, "pt") as file:
        step = int(json.loads(file.metadata()["step"]))
        tensors = {k: file.get_tensor(k) for k in file.keys()}  # noqa: SIM118 (safe_open is no dict)

    def part(prefix: str) -> dict[str, Tensor]:
        return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}

    model.load_state_dict(part("model."))
    average.load_state_dict(part("average."))
    states: dict[int, dict[str, Tensor]] = {}
    for key, value in part("optimiser.").items():
        index, name = key.split(".", 1)
        states.setdefault(int(index), {})[name] = value
    optimiser.load_state_dict({"state": states, "param_groups": optimiser.state_dict()["param_groups"]})
    return step
