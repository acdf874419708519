"""The figures of a run: what `result.json` holds."""

from collections.abc import Iterable, Mapping
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field

from fgl_flower.config import RunConfig
from fgl_flower.records import environment


class Failure(BaseModel):
    """What one client failed at, and when: an error reply, or none in time."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    client: str = Field(description="The client's partition, or 'node ID' where it never told it.")
    reason: str
    rounds: list[int] = Field(description="Server rounds in which it failed for this reason; 0: before the first.")

    @classmethod
    def listed(cls, rounds: Mapping[tuple[str, str], Iterable[int]]) -> list[Self]:
        """Return failures by client and reason: clients by partition, those without one last, then by round."""
        result = [cls(client=client, reason=why, rounds=sorted(when)) for (client, why), when in rounds.items()]
        return sorted(result, key=lambda one: (not one.client.isdecimal(), _number(one.client), one.client, one.rounds))


class Result(BaseModel):
    """The figures of a finished run: the contents of `result.json`.

    Accuracies are shares of the test split in [0, 1], None for a class or domain without test images. Bytes are those
    of the messages as serialised; `per_client` figures are means over the clients, over the whole run.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    method: str
    dataset: str
    partition: str = Field(description="'iid', 'domain' or 'dirichlet-BETA'.")
    seed: int
    rounds: int = Field(ge=0)
    clients: int = Field(ge=0)
    accuracy: float | None = Field(ge=0, le=1, description="None: the server has no test images.")
    accuracy_by_domain: dict[str, float | None] = {}
    accuracy_by_class: dict[str, float | None] = {}
    validation_accuracy: float | None = Field(None, ge=0, le=1)
    client_accuracy: float | None = Field(
        None,
        ge=0,
        le=1,
        description="selection = 'clients': share of the clients' images that the final model gets right.",
    )
    selected_round: int | None = Field(
        None, ge=0, description="selection = 'clients': the round whose model is the final one; 0: the one-shot model."
    )
    synthetic_images: int = Field(0, ge=0)
    bytes_up_per_client: float = Field(0, ge=0)
    bytes_down_per_client: float = Field(0, ge=0)
    bytes_once_per_client: float = Field(0, ge=0, description="One-time downloads of models a client needs.")
    requests_per_client: float = Field(
        0, ge=0, description="Requests of Flower's protocol that these bytes took in a deployment."
    )
    bytes_total: int = Field(0, ge=0, description="Every message both ways and the one-time downloads, all clients.")
    seconds: dict[str, float] = Field({}, description="Wall time by phase; 'total' is the whole run.")
    peak_memory_bytes: int = Field(0, ge=0, description="Largest resident size, child processes included.")
    peak_device_memory_bytes: int | None = Field(None, description="Largest memory on the accelerator; None: not used.")
    synthetic_digest: str = Field("", description="SHA-256 over the synthetic images in plan order; empty: none.")
    safety_checker: dict[str, int] = Field(
        {},
        description="Images that the generator's safety checker blanked and that were 'redrawn' with another seed, and "
        "those 'left_out' because it always did. Empty: none, or it was not asked.",
    )
    models: list[dict[str, str]] = Field([], description="Each model's 'role', 'id' and 'revision'.")
    transfer: dict[str, dict[str, int]] = Field(
        {},
        description="How the model trained on synthetic images does on the clients' own: images of each class that it "
        "gets 'right', and 'total'. Empty: they were not asked.",
    )
    learning_seconds: dict[str, int] = Field(
        {}, description="What learning tokens took each client, as they say. Empty: none learned."
    )
    levels: dict[str, str] = Field({}, description="prompt-level = 'auto': the level that each class was drawn at.")
    privacy: dict[str, float] = Field(
        {},
        description="dp-epsilon: 'epsilon' and 'delta' promised to each image of a client, what the 'releases' with "
        "'noise' (standard deviation, in units of what an image changes) have 'spent' of it by the accountant; the "
        "'least' noisy count that is sent; of DP-SGD the 'rate' at which images are drawn and the norm to 'clip' to. "
        "Empty: nothing is promised.",
    )
    quarantined: dict[str, str] = Field({}, description="Clients that were shut out, and why.")
    failures: list[Failure] = Field([], description="Clients that did not take part in a round, by reason.")
    skipped: dict[str, int] = Field(
        {}, description="Unreadable images left out, by owner: 'validation', 'test', 'private' or a client."
    )
    warnings: list[str] = Field([], description="What a reader of the figures must know, a sentence each.")
    data_fingerprint: str = Field(
        "", description="What stands for the data (`fgl_flower.records.fingerprint`); empty: made by an older version."
    )
    resumed: int = Field(0, ge=0, description="How often the run was ended early and gone on with.")
    engine: str = Field("", description="How the clients were run: inline, ray, or deployment.")
    nodes: dict[str, dict[str, str]] = Field({}, description="Deployment: versions on each node, by client.")
    app: str = Field("", description="Deployment: SHA-256 of the bundle that Flower handed to the nodes.")
    git: dict[str, Any] = {}
    versions: dict[str, str] = {}

    @classmethod
    def of(cls, config: RunConfig, **measured: Any) -> Self:
        """Return a result whose settings, git state and versions are filled in; `measured` gives the rest."""
        settings: dict[str, Any] = {
            "method": config.method,
            "dataset": config.dataset,
            "partition": partition_name(config),
            "seed": config.seed,
            "rounds": config.rounds,
            "clients": config.clients,
            "git": environment.git_state(),
            "versions": environment.versions(),
        }
        return cls(**{**settings, **measured})


def partition_name(config: RunConfig) -> str:
    """Return 'iid', 'domain' or 'dirichlet-BETA'."""
    return f"dirichlet-{config.beta:g}" if config.partition == "dirichlet" else config.partition


def _number(client: str) -> int:
    return int(client) if client.isdecimal() else 0
