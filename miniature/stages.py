"""The stages of the recipe: autoencoder, decoder, generator, few-step generator, captioner. Each trains in place."""

from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F
from transformers import BlipForConditionalGeneration, BlipProcessor, CLIPTextModel, CLIPTokenizer

from miniature.build import NOISE
from miniature.fitting import LossOf, Schedule, fit
from miniature.public import Public, to_model

EMPTY_SHARE = 0.1  # of the captions, left out for classifier-free guidance
GUIDANCE = 2.5  # taught to the few-step generator
FEW_STEPS = 4
ADVERSARY = 0.1  # weight beside the distances
LATENT_NOISE = 0.05  # standard deviation, where latents have 1


@dataclass(frozen=True)
class Site:
    """Where and how a stage trains: checkpoint folder, seed, batch size, time limit (time.monotonic value)."""

    folder: Path
    seed: int
    batch: int
    deadline: float | None = None

    def fit(self, name: str, model: nn.Module, loss_of: LossOf, schedule: Schedule) -> float:
        """Run `fitting.fit` with this site's folder, seed and limit."""
        path = self.folder / f"{name}.safetensors"
        return fit(name, model, loss_of, schedule, path, seed=self.seed, deadline=self.deadline)

    def pick(self, count: int, generator: torch.Generator) -> Tensor:
        """Return a batch of indices below `count`."""
        return torch.randint(count, (self.batch,), generator=generator, device=generator.device)


def train_autoencoder(model: AutoencoderKL, pixels: Tensor, schedule: Schedule, site: Site) -> float:
    """Train on L1 + L2 + edges (differences of neighbouring pixels) and a whisper of KL; then normalise the latents."""

    def loss_of(generator: torch.Generator) -> Tensor:
        x = to_model(pixels[site.pick(len(pixels), generator)])  # (B, 3, 32, 32)
        posterior = model.encode(x).latent_dist
        noise = torch.randn(posterior.mean.shape, generator=generator, device=x.device)
        y = model.decode(posterior.mean + posterior.std * noise).sample
        edges = sum((F.l1_loss(y.diff(dim=d), x.diff(dim=d)) for d in (2, 3)), start=x.new_zeros(()))
        return F.l1_loss(y, x) + 2 * F.mse_loss(y, x) + edges + 1e-6 * posterior.kl().mean()

    loss = site.fit("autoencoder", model, loss_of, schedule)
    _normalise_latents(model, pixels[:4096])
    return loss


@torch.no_grad()
def _normalise_latents(model: AutoencoderKL, pixels: Tensor) -> None:
    """Fold centring and unit variance, channel by channel, into the two quant convolutions."""
    latents = torch.cat([model.encode(to_model(p)).latent_dist.mean for p in pixels.split(512)])
    mean, std = latents.mean((0, 2, 3)), latents.std((0, 2, 3))
    channels = len(mean)
    quant, post = model.quant_conv, model.post_quant_conv
    quant.weight[:channels] /= std[:, None, None, None]
    quant.bias[:channels] = (quant.bias[:channels] - mean) / std
    quant.bias[channels:] -= 2 * std.log()  # the second half holds log variances
    post.bias += post.weight[:, :, 0, 0] @ mean
    post.weight *= std[None, :, None, None]


class DecoderAndCritic(nn.Module):
    """An autoencoder's decoder beside a small critic that looks at patches (PatchGAN, arXiv 1611.07004)."""

    def __init__(self, decoder: nn.Module) -> None:
        super().__init__()
        self.decoder = decoder

        def layer(given: int, made: int, stride: int) -> tuple[nn.Module, nn.Module]:
            convolution = nn.Conv2d(given, made, 3, stride, 1)
            return nn.utils.parametrizations.spectral_norm(convolution), nn.LeakyReLU(0.2)

        layers = [*layer(3, 32, 1), *layer(32, 64, 2), *layer(64, 96, 1), *layer(96, 96, 2)]
        self.critic = nn.Sequential(*layers, nn.Conv2d(96, 1, 1))


def train_decoder(model: AutoencoderKL, pixels: Tensor, schedule: Schedule, site: Site) -> float:
    """Train the decoder alone to draw what the distances smooth away, as rough strokes: distances and an adversary.

    The adversary is relativistic (arXiv 1807.00734): it says which of the two, real or decoded, looks more real. The
    encoder stays, so latents, and what was trained on them, stay valid.
    """
    both = DecoderAndCritic(model.decoder).to(pixels.device)
    model.requires_grad_(False)
    model.decoder.requires_grad_(True)
    latents = encode_all(model, pixels)

    def loss_of(generator: torch.Generator) -> Tensor:
        i = site.pick(len(pixels), generator)
        x, z = to_model(pixels[i]), latents[i]
        z = z + LATENT_NOISE * torch.randn(z.shape, generator=generator, device=z.device)  # a denoiser's are not exact
        y = both.decoder(model.post_quant_conv(z))
        edges = sum((F.l1_loss(y.diff(dim=d), x.diff(dim=d)) for d in (2, 3)), start=x.new_zeros(()))
        real, drawn = both.critic(x), both.critic(y.detach())
        critic = F.softplus(drawn - real).mean()
        still = {name: value.detach() for name, value in both.critic.state_dict(keep_vars=True).items()}
        fooled = F.softplus(real.detach() - functional_call(both.critic, still, (y,))).mean()
        return F.l1_loss(y, x) + 2 * F.mse_loss(y, x) + edges + critic + ADVERSARY * fooled

    return site.fit("decoder", both, loss_of, schedule)


@torch.no_grad()
def encode_all(model: AutoencoderKL, pixels: Tensor) -> Tensor:
    """Return the latents (means) of all images: (N, 4, 8, 8)."""
    return torch.cat([model.encode(to_model(p)).latent_dist.mean for p in pixels.split(1024)])


def tokenise(tokenizer: CLIPTokenizer, public: Public, device: torch.device) -> Tensor:
    """Return the tokens of every prompt of every image: (N, VARIANTS, 24) int16."""
    flat = [p for variants in public.prompts for p in variants]
    unique = list(dict.fromkeys(flat))
    ids = tokenizer(unique, padding="max_length", truncation=True, return_tensors="pt").input_ids
    row = {p: i for i, p in enumerate(unique)}
    table = torch.tensor([row[p] for p in flat]).view(len(public.prompts), -1)
    return ids.to(torch.int16).to(device)[table.to(device)]


def noise_levels(device: torch.device) -> Tensor:
    """Return the cumulative signal power of the noise schedule: (1000,)."""
    return DDIMScheduler(**NOISE).alphas_cumprod.to(device)


class TextToLatent(nn.Module):
    """Text encoder and denoiser, trained together."""

    def __init__(self, encoder: CLIPTextModel, denoiser: UNet2DConditionModel) -> None:
        super().__init__()
        self.encoder, self.denoiser = encoder, denoiser

    def forward(self, noisy: Tensor, t: Tensor, tokens: Tensor) -> Tensor:
        """Return the predicted velocity: (B, 4, 8, 8), (B,), (B, 24) -> (B, 4, 8, 8)."""
        return self.denoiser(noisy, t, self.encoder(tokens).last_hidden_state).sample


def train_generator(
    model: TextToLatent, latents: Tensor, tokens: Tensor, empty: Tensor, schedule: Schedule, site: Site
) -> float:
    """Train on velocity, min-SNR weighted (gamma 5); one prompt in ten is empty. empty: (24,) tokens."""
    power = noise_levels(latents.device)

    def loss_of(generator: torch.Generator) -> Tensor:
        device = latents.device
        i = site.pick(len(latents), generator)
        x, noise = latents[i], torch.randn((site.batch, *latents.shape[1:]), generator=generator, device=device)
        t = torch.randint(1000, (site.batch,), generator=generator, device=device)
        variant = torch.randint(tokens.shape[1], (site.batch,), generator=generator, device=device)
        drop = torch.rand(site.batch, generator=generator, device=device) < EMPTY_SHARE
        text = torch.where(drop[:, None], empty, tokens[i, variant].long())
        a = power[t].view(-1, 1, 1, 1)
        velocity = a.sqrt() * noise - (1 - a).sqrt() * x
        error = (model(a.sqrt() * x + (1 - a).sqrt() * noise, t, text) - velocity).square().mean((1, 2, 3))
        snr = power[t] / (1 - power[t])
        return (error * snr.clamp(max=5) / (snr + 1)).mean() * 2

    return site.fit("generator", model, loss_of, schedule)


def train_few_step(
    student: UNet2DConditionModel,
    teacher: TextToLatent,
    latents: Tensor,
    tokens: Tensor,
    empty: Tensor,
    schedule: Schedule,
    site: Site,
) -> float:
    """Distil guidance and steps together (progressive distillation, arXiv 2202.00512, with guidance, 2210.03142).

    The student learns to cross in one DDIM step what the guided teacher crosses in four, from each of its four
    starting points; the first is pure noise, as when sampling.
    """
    power = noise_levels(latents.device)
    inner = 4  # teacher steps in a student step
    times = torch.linspace(1000, 0, FEW_STEPS * inner + 1).round().long().sub(1).to(latents.device)  # trailing

    def level(t: Tensor) -> Tensor:
        """Signal power at t; t = -1 is the clean image."""
        return torch.where(t < 0, torch.ones_like(power[t]), power[t.clamp(min=0)]).view(-1, 1, 1, 1)

    @torch.no_grad()
    def guided(x: Tensor, t: Tensor, both: Tensor) -> Tensor:
        with_text, without = teacher.denoiser(x.repeat(2, 1, 1, 1), t.repeat(2), both).sample.chunk(2)
        return without + GUIDANCE * (with_text - without)

    def loss_of(generator: torch.Generator) -> Tensor:
        device = latents.device
        i = site.pick(len(latents), generator)
        variant = torch.randint(tokens.shape[1], (site.batch,), generator=generator, device=device)
        noise = torch.randn((site.batch, *latents.shape[1:]), generator=generator, device=device)
        start = torch.randint(FEW_STEPS, (site.batch,), generator=generator, device=device)
        with torch.no_grad():
            states = teacher.encoder(tokens[i, variant].long()).last_hidden_state
            both = torch.cat([states, teacher.encoder(empty.expand(site.batch, -1)).last_hidden_state])
            t0 = times[start * inner]
            a0 = level(t0)
            x0 = torch.where((start == 0).view(-1, 1, 1, 1), noise, a0.sqrt() * latents[i] + (1 - a0).sqrt() * noise)
            x, t = x0, t0
            for k in range(inner):
                v, a = guided(x, t, both), level(t)
                clean, eps = a.sqrt() * x - (1 - a).sqrt() * v, a.sqrt() * v + (1 - a).sqrt() * x
                t = times[start * inner + k + 1]
                x = level(t).sqrt() * clean + (1 - level(t)).sqrt() * eps
            # The velocity at x0 that lands on x in one DDIM step.
            s0, n0, s1, n1 = a0.sqrt(), (1 - a0).sqrt(), level(t).sqrt(), (1 - level(t)).sqrt()
            clean = (x - n1 / n0 * x0) / (s1 - n1 / n0 * s0)
            target = (s0 * x0 - clean) / n0
        guess = student(x0, t0, states).sample
        return F.mse_loss(guess, target)

    return site.fit("few-step", student, loss_of, schedule)


def train_captioner(
    model: BlipForConditionalGeneration, processor: BlipProcessor, public: Public, schedule: Schedule, site: Site
) -> float:
    """Teach BLIP the full captions by teacher forcing."""
    device = next(model.parameters()).device
    pixels = public.pixels.to(device)
    batch = processor.tokenizer(public.captions, padding=True, return_tensors="pt")
    ids, mask = batch.input_ids.to(device), batch.attention_mask.to(device)

    def loss_of(generator: torch.Generator) -> Tensor:
        i = site.pick(len(pixels), generator)
        labels = ids[i].masked_fill(mask[i] == 0, -100)
        return model(pixel_values=to_model(pixels[i]), input_ids=ids[i], attention_mask=mask[i], labels=labels).loss

    return site.fit("captioner", model, loss_of, schedule)
