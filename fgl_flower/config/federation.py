"""Rounds of federated training: the strategy, what clients do in a round, what the server makes of it."""

from typing import Annotated, Literal

from pydantic import Field

from fgl_flower.config.part import Seeded
from fgl_flower.extension_points import METHOD, WRAPPED


class FederationConfig(Seeded):
    """A part of `RunConfig`; the descriptions of the fields give unit and range."""

    method: Annotated[str, METHOD] = Field(
        "fgl",
        description="fgl, a federated baseline, local (each client trains alone), centralised (on all private images), "
        "mixed (on those and the synthetic ones together) or zero-shot (CLIP reads class-template; no training).",
    )
    wrapped: Annotated[str, WRAPPED] = Field(
        "fedavg", description="Strategy to which FGL delegates the rounds after its prompt round."
    )
    rounds: int = Field(
        0,
        ge=0,
        le=10_000,
        description="Rounds of federated training; for FGL those after the prompt round (0: one-shot).",
    )
    local_epochs: int = Field(5, ge=1, description="Epochs of a client's training in a round.")
    local_lr: float = Field(0.1, gt=0, description="Learning rate of a client's training.")
    local_weight_decay: float = Field(1e-4, ge=0, description="Weight decay of a client's training.")
    fine_tune_epochs: int = Field(
        0, ge=0, description="Epochs of server fine-tuning on the synthetic store after each round."
    )
    fine_tune_lr: float = Field(
        0.01, gt=0, description="Peak learning rate of fine-tuning: small, for it refines a model and starts none."
    )
    fraction: float = Field(1.0, gt=0, le=1, description="Share of the clients that train in a round, at least one.")
    dropout: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="Probability that a client is away in a round; simulated by `fgl run`, seeded, without waiting.",
    )
    straggler_seconds: float = Field(
        0.0,
        ge=0,
        description="Mean of the exponential distribution of how long a client's answer takes; those beyond "
        "round-timeout (prompt-timeout) come too late. Simulated by `fgl run`, seeded, without waiting.",
    )
    selection: Literal["validation", "clients"] = Field(
        "validation",
        description="What chooses among a run's models: the server's validation images, by which server training keeps "
        "its best epoch; or the clients' own images: all clients judge the model of each round, and the best is kept.",
    )
    patience: int = Field(
        0,
        ge=0,
        description="selection = 'clients': rounds without a better model after which the run ends; 0: all are run.",
    )
    keep_models: int = Field(
        0,
        ge=0,
        description="Membership audits: keep the global model after every so many rounds, in the run's folder models/; "
        "0: the final one alone.",
    )
    proximal_mu: float = Field(0.01, ge=0, description="FedProx: weight of the proximal term.")
    moon_mu: float = Field(1.0, ge=0, description="MOON: weight of the contrastive term.")
    moon_temperature: float = Field(0.5, gt=0, description="MOON: temperature of the contrastive term.")
    server_momentum: float = Field(0.9, ge=0, lt=1, description="FedAvgM: momentum of the server.")
    adaptive_lr: float = Field(0.01, gt=0, description="FedAdam and FedYogi: learning rate of the server (eta).")
    adaptive_tau: float = Field(1e-3, gt=0, description="FedAdam and FedYogi: degree of adaptivity (tau).")
    max_client_examples: int = Field(
        100_000,
        ge=1,
        description="A client's claim of more examples, or of more images behind a prompt, counts as this.",
    )
