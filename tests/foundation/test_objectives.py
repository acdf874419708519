"""Words learned for families of several encoders: their losses by hand, and that learning lowers them."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from fgl_flower.errors import ModelError
from fgl_flower.foundation.encoders import Condition, PromptEncoder
from fgl_flower.foundation.generator import Generator
from fgl_flower.foundation.inversion import Inverted, encode_images, invert
from fgl_flower.foundation.objectives import FlowObjective, XLObjective, latents_of, objective_of
from tests.tiny_families import save_family

LEARNED = ("sdxl", "sd3")


@pytest.fixture(scope="module")
def generators(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Generator]:
    root = tmp_path_factory.mktemp("families")
    return {
        name: Generator.load(str(save_family(name, root / name)), device="cpu", precision="float32") for name in LEARNED
    }


def some(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def stand_in(monkeypatch: pytest.MonkeyPatch, generator: Generator, name: str, answer: torch.Tensor) -> list[Any]:
    """Let the denoiser answer so; return what each of its calls was given."""
    calls: list[Any] = []

    def denoise(*given: Any, **named: Any) -> Any:
        calls.append((given, named))
        return SimpleNamespace(sample=answer)

    monkeypatch.setattr(getattr(generator.pipeline, name), "forward", denoise)
    return calls


def test_the_flows_loss_is_that_of_its_velocity(
    generators: dict[str, Generator], monkeypatch: pytest.MonkeyPatch
) -> None:
    clean, noise, times = some(2, 4, 8, 8), some(2, 4, 8, 8, seed=1), torch.tensor([0.25, 0.5])
    calls = stand_in(monkeypatch, generators["sd3"], "transformer", noise - clean + 3.0)
    condition = Condition(some(2, 5, 32), some(2, 32))
    objective = objective_of(generators["sd3"])
    assert objective.loss(clean, noise, times, condition).item() == pytest.approx(9.0, abs=1e-5)  # off by 3 everywhere
    ((_, given),) = calls
    torch.testing.assert_close(given["hidden_states"][0], 0.75 * clean[0] + 0.25 * noise[0])
    torch.testing.assert_close(given["hidden_states"][1], 0.5 * clean[1] + 0.5 * noise[1])
    assert given["timestep"].tolist() == [250.0, 500.0]  # as the pipeline tells them, in thousandths
    assert given["encoder_hidden_states"] is condition.attended
    assert given["pooled_projections"] is condition.pooled


def test_sigmas_are_logit_normal_and_shifted_as_the_scheduler_shifts(generators: dict[str, Generator]) -> None:
    objective = objective_of(generators["sd3"])
    assert isinstance(objective, FlowObjective)
    assert objective.shift == 3.0
    sigma = objective.times(20_000, torch.Generator().manual_seed(0))
    # The median of a logit-normal is 1/2, its quartiles 1 / (1 + exp(-+0.6745)); s becomes 3 s / (1 + 2 s).
    quartiles = [1 / (1 + np.exp(-z)) for z in (-0.6745, 0.0, 0.6745)]
    expected = torch.tensor([3 * s / (1 + 2 * s) for s in quartiles], dtype=torch.float32)
    torch.testing.assert_close(sigma.quantile(torch.tensor([0.25, 0.5, 0.75])), expected, atol=0.01, rtol=0)
    scheduler = generators["sd3"].pipeline.scheduler
    torch.testing.assert_close(scheduler.sigmas[500].item(), 3 * 0.5 / 2, atol=1e-3, rtol=0)


def test_sdxls_loss_is_that_of_the_noise_and_it_is_told_sizes(
    generators: dict[str, Generator], monkeypatch: pytest.MonkeyPatch
) -> None:
    clean, noise = some(2, 4, 8, 8), some(2, 4, 8, 8, seed=1)
    calls = stand_in(monkeypatch, generators["sdxl"], "unet", noise - 2.0)
    condition, objective = Condition(some(2, 5, 48), some(2, 24)), objective_of(generators["sdxl"])
    assert isinstance(objective, XLObjective)
    assert objective.loss(clean, noise, torch.tensor([0, 999]), condition).item() == pytest.approx(4.0, abs=1e-5)
    (((noisy, times), given),) = calls
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
    left = (1 - betas).cumprod(0)[[0, 999]].view(2, 1, 1, 1)
    torch.testing.assert_close(noisy, left.sqrt() * clean + (1 - left).sqrt() * noise)
    assert times.tolist() == [0, 999]
    assert given["encoder_hidden_states"] is condition.attended
    assert given["added_cond_kwargs"]["text_embeds"] is condition.pooled
    assert given["added_cond_kwargs"]["time_ids"].tolist() == [[32, 32, 0, 0, 32, 32]] * 2


@pytest.mark.parametrize("family", LEARNED)
def test_latents_are_what_the_pipeline_decodes(family: str, generators: dict[str, Generator]) -> None:
    vae, images = generators[family].pipeline.vae, some(1, 3, 32, 32).clamp(-1, 1)
    mean = vae.encode(images).latent_dist.mean
    expected = mean * 0.18215 if family == "sdxl" else (mean - 0.0609) * 1.5
    torch.testing.assert_close(latents_of(vae, images), expected)


def test_latents_of_an_autoencoder_with_statistics_of_its_own(generators: dict[str, Generator]) -> None:
    config = SimpleNamespace(latents_mean=[1.0, 2.0], latents_std=[4.0, 5.0], scaling_factor=0.5)
    mean = torch.ones(1, 2, 1, 1) * 3
    vae = SimpleNamespace(
        config=config, encode=lambda _: SimpleNamespace(latent_dist=SimpleNamespace(mean=mean)), device="cpu"
    )
    assert latents_of(vae, mean).flatten().tolist() == pytest.approx([(3 - 1) * 0.5 / 4, (3 - 2) * 0.5 / 5])


@pytest.mark.parametrize("family", LEARNED)
def test_learning_lowers_the_loss_by_vectors_of_both_encoders(
    family: str, generators: dict[str, Generator], monkeypatch: pytest.MonkeyPatch, one_thread: None
) -> None:
    monkeypatch.setattr("fgl_flower.foundation.inversion.CHECKED", 32)
    monkeypatch.setattr("fgl_flower.foundation.inversion.CHECK", 100)
    generator = generators[family]
    encoder = PromptEncoder.of(generator)
    before = {name: p.clone() for name, p in generator.pipeline.text_encoder.state_dict().items()}
    pixels = torch.randint(0, 256, (4, 3, 32, 32), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    latents = encode_images(generator, pixels)
    start = {"<star>": encoder.words("star").repeat(2, 1).numpy()}

    def learn(steps: int, lr: float) -> Inverted:
        return invert(generator, latents, ["a sketch of a <star>"] * 4, start, steps=steps, batch_size=8, lr=lr)

    learned, still = learn(25, 0.1), learn(1, 1e-12)
    assert learned.loss < still.loss  # both on the same images, noise and times
    moved = np.abs(learned.vectors["<star>"] - start["<star>"]).max(axis=0)
    assert (moved > 0).all()
    after = generator.pipeline.text_encoder.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_family_without_a_known_loss_is_told(generators: dict[str, Generator]) -> None:
    card = SimpleNamespace(id="x", pipeline="FluxPipeline")
    with pytest.raises(ModelError, match="training loss of 'x', a FluxPipeline, is not known"):
        objective_of(SimpleNamespace(card=card))  # type: ignore[arg-type]


def test_the_pooled_vector_is_learned_through(generators: dict[str, Generator]) -> None:
    encoder = PromptEncoder.of(generators["sdxl"])
    vectors = {"<star>": encoder.words("star").clone().requires_grad_()}
    condition = encoder.condition(encoder.read(["a <star>"], {"<star>": 1}), vectors)
    assert condition.pooled is not None
    (gradient,) = torch.autograd.grad(F.mse_loss(condition.pooled, torch.zeros(1, 24)), vectors["<star>"])
    first, second = gradient.split(encoder.widths, dim=1)
    assert not first.any()  # SDXL's pooled vector is of the second encoder
    assert second.any()
