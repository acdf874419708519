"""Train and ship the miniature models: `python -m miniature.recipe --help`.

Every stage has a fixed seed, shows its progress, saves every minute and goes on where it stopped. The shipped weights
took some minutes on a GPU; `--scale` shortens every stage where there is none.
"""

import argparse
import copy
import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline
from safetensors.torch import load_file, save_file

from miniature import stages
from miniature.build import (
    build_autoencoder,
    build_captioner,
    build_denoiser,
    build_text_encoder,
    build_tokenizer,
    few_step_solver,
    parameters,
    solver,
)
from miniature.fitting import OutOfTimeError, Schedule
from miniature.public import Public, load_public

SEED = 2306  # 16064
SCHEDULES = {
    "autoencoder": Schedule(steps=3_000, learning_rate=1e-3, ema=0.999),
    "decoder": Schedule(steps=2_200, learning_rate=5e-4, ema=0.999),
    "generator": Schedule(steps=15_500, learning_rate=1e-3, ema=0.9995),
    "few-step": Schedule(steps=7_000, learning_rate=4e-4, ema=0.999),
    "captioner": Schedule(steps=10_000, learning_rate=1e-3, ema=0.999),
}
BATCHES = {"autoencoder": 128, "decoder": 32, "generator": 512, "few-step": 256, "captioner": 256}
WEIGHTS = Path(__file__).parent / "weights"


class Recipe:
    """The stages in their order, over one working folder.

    Parameters
    ----------
    work : Path
        Folder for checkpoints, made if missing. A stage starts from ``STAGE.initial.safetensors`` where it lies there.
    images : int
        Images of the public split to train on.
    device : torch.device
        Where to train.
    scale : float
        Factor on every stage's number of steps, > 0; 1 is what the shipped weights had.
    workers : int
        Processes that draw the public split.
    deadline : float, optional
        `time.monotonic()` value after which to save and stop.
    """

    def __init__(
        self, work: Path, images: int, device: torch.device, scale: float, workers: int, deadline: float | None = None
    ) -> None:
        self.work, self.device, self.scale, self.deadline = work, device, scale, deadline
        work.mkdir(parents=True, exist_ok=True)
        self.public: Public = load_public(images, workers)
        self.pixels = self.public.pixels.to(device)
        self.tokenizer = build_tokenizer()
        self.empty = self._tokens([""])[0]

    def autoencoder(self) -> AutoencoderKL:
        """Return the trained autoencoder, training it if need be."""
        return self._once("autoencoder", build_autoencoder, lambda m, s: stages.train_autoencoder(m, self.pixels, *s))

    def decoder(self) -> AutoencoderKL:
        """Return the autoencoder with its decoder trained on, training it if need be."""
        autoencoder = self.autoencoder()
        return self._once(
            "decoder", lambda: copy.deepcopy(autoencoder), lambda m, s: stages.train_decoder(m, self.pixels, *s)
        )

    def generator(self) -> stages.TextToLatent:
        """Return the trained text encoder and denoiser, training them if need be."""

        def build() -> stages.TextToLatent:
            return stages.TextToLatent(build_text_encoder(self.tokenizer), build_denoiser())

        def train(model: stages.TextToLatent, site: tuple[Schedule, stages.Site]) -> float:
            latents, tokens = self._latents_and_tokens()
            return stages.train_generator(model, latents, tokens, self.empty, *site)

        return self._once("generator", build, train)

    def few_step(self) -> torch.nn.Module:
        """Return the distilled denoiser, training it if need be."""
        teacher = self.generator()

        def train(model: torch.nn.Module, site: tuple[Schedule, stages.Site]) -> float:
            latents, tokens = self._latents_and_tokens()
            return stages.train_few_step(model, teacher, latents, tokens, self.empty, *site)

        return self._once("few-step", lambda: copy.deepcopy(teacher.denoiser).requires_grad_(True), train)

    def captioner(self) -> torch.nn.Module:
        """Return the trained captioner, training it if need be."""
        processor = build_captioner()[1]
        return self._once(
            "captioner",
            lambda: build_captioner()[0],
            lambda m, s: stages.train_captioner(m, processor, self.public, *s),
        )

    def _tokens(self, texts: list[str]) -> torch.Tensor:
        return self.tokenizer(texts, padding="max_length", truncation=True, return_tensors="pt").input_ids.to(
            self.device
        )

    def _latents_and_tokens(self) -> tuple[torch.Tensor, torch.Tensor]:
        latents = stages.encode_all(self.autoencoder(), self.pixels)
        return latents, stages.tokenise(self.tokenizer, self.public, self.device)

    def _once(self, name: str, build: Callable[[], Any], train: Callable[..., float]) -> Any:
        torch.manual_seed(SEED)
        model = build().to(self.device)
        done = self.work / f"{name}.final.safetensors"
        if done.exists():
            model.load_state_dict(load_file(done, device=str(self.device)))
            return model.eval()
        if (earlier := self.work / f"{name}.initial.safetensors").exists():
            model.load_state_dict(load_file(earlier, device=str(self.device)))
        base = SCHEDULES[name]
        schedule = Schedule(max(1, round(base.steps * self.scale)), base.learning_rate, base.ema)
        site = stages.Site(self.work, SEED, BATCHES[name], self.deadline)
        began = time.monotonic()
        loss = train(model, (schedule, site))
        seconds = time.monotonic() - began
        own = {k: v.detach().cpu().contiguous().clone() for k, v in model.state_dict().items()}  # BLIP ties some
        save_file(own, done.with_suffix(".tmp"))
        os.replace(done.with_suffix(".tmp"), done)
        facts: dict[str, object] = {
            "parameters": parameters(model),
            "steps": schedule.steps,
            "batch": site.batch,
            "loss": loss,
        }
        facts |= {
            "seconds_of_the_last_sitting": round(seconds, 1),
            "images": len(self.pixels),
            "device": self.device.type,
        }
        (self.work / f"{name}.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
        print(name, facts, flush=True)
        return model.eval()


STAGES: dict[str, Callable[[Recipe], object]] = {
    "autoencoder": Recipe.autoencoder,
    "decoder": Recipe.decoder,
    "generator": Recipe.generator,
    "few-step": Recipe.few_step,
    "captioner": Recipe.captioner,
}


def ship(work: Path, weights: Path) -> None:
    """Write every finished stage of `work` into `weights` as fp16, in the libraries' own formats."""
    tokenizer = build_tokenizer()

    def finished(name: str, model: torch.nn.Module) -> torch.nn.Module:
        model.load_state_dict(load_file(work / f"{name}.final.safetensors"))
        return model.half().eval()

    if (work / "generator.final.safetensors").exists():
        text_to_latent = stages.TextToLatent(build_text_encoder(tokenizer), build_denoiser())
        finished("generator", text_to_latent)
        pipeline = StableDiffusionPipeline(
            vae=finished(_best_autoencoder(work), build_autoencoder()),
            text_encoder=text_to_latent.encoder,
            tokenizer=tokenizer,
            unet=text_to_latent.denoiser,
            scheduler=solver(),
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )
        _replace(weights / "generator", lambda folder: pipeline.save_pretrained(folder, safe_serialization=True))
        _defaults(weights / "generator", steps=15, guidance=stages.GUIDANCE)
    if (work / "few-step.final.safetensors").exists():
        student = finished("few-step", build_denoiser())

        def save(folder: Path) -> None:
            student.save_pretrained(folder / "unet", safe_serialization=True)  # type: ignore[operator]
            few_step_solver().save_pretrained(folder / "scheduler")

        _replace(weights / "generator-fast", save)
        _defaults(weights / "generator-fast", base="../generator", steps=stages.FEW_STEPS, guidance=1.0)
    if (work / "captioner.final.safetensors").exists():
        model, processor = build_captioner()
        finished("captioner", model)

        def save_captioner(folder: Path) -> None:
            model.save_pretrained(folder)
            processor.save_pretrained(folder)

        _replace(weights / "captioner", save_captioner)
    for facts in sorted(work.glob("*.json")):
        shutil.copy(facts, weights / facts.name)


def _best_autoencoder(work: Path) -> str:
    return "decoder" if (work / "decoder.final.safetensors").exists() else "autoencoder"


def _replace(folder: Path, save: Callable[[Path], object]) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    save(folder)


def _defaults(folder: Path, **values: object) -> None:
    (folder / "fgl.json").write_text(json.dumps({**values, "size": 32}, indent=2) + "\n", encoding="utf-8")


def main() -> None:
    """Command line of the recipe."""
    parser = argparse.ArgumentParser(prog="python -m miniature.recipe", description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="folder for checkpoints; run again to go on")
    parser.add_argument("--stages", nargs="*", default=list(STAGES), choices=list(STAGES), help="default: all")
    parser.add_argument("--images", type=int, default=100_000, help="images of the public split (default: %(default)s)")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--scale", type=float, default=1.0, help="factor on the number of steps (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes that draw the public split")
    parser.add_argument("--minutes", type=float, help="save and stop after this long")
    parser.add_argument("--ship", action="store_true", help=f"write the finished models to {WEIGHTS.name}/ as fp16")
    given = parser.parse_args()
    deadline = None if given.minutes is None else time.monotonic() + 60 * given.minutes
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    try:
        if given.stages:
            recipe = Recipe(given.work, given.images, torch.device(given.device), given.scale, given.workers, deadline)
            for stage in given.stages:
                STAGES[stage](recipe)
    except OutOfTimeError as stop:
        print(f"{stop}; run the same command again to go on", flush=True)
    if given.ship:
        ship(given.work, WEIGHTS)


if __name__ == "__main__":
    main()
