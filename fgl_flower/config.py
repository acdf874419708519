"""One configuration for every way to run.

A run is described by a flat TOML file of kebab-case keys. `RunConfig` gives every key its type, unit, range and a
sentence; unknown keys, wrong types and contradictions are refused before anything is written. The same keys stand in
`[tool.flwr.app.config]` of pyproject.toml, because Flower accepts only keys it finds there.
"""

import json
import tomllib
from pathlib import Path
from typing import Any, Literal, Self, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic.fields import FieldInfo

from fgl_flower.errors import ConfigError

__all__ = ["METHODS_WITHOUT_CLIENTS", "ConfigError", "RunConfig", "describe_keys"]

METHODS_WITHOUT_CLIENTS = frozenset({"centralised"})

Method = Literal["fgl", "mixed", "fedavg", "fedprox", "fedavgm", "fedadam", "fedyogi", "moon", "local", "centralised"]
Wrapped = Literal["fedavg", "fedprox", "fedavgm", "fedadam", "fedyogi", "moon"]

_STEPPING = frozenset({"fedavgm", "fedadam", "fedyogi"})  # strategies whose server has an optimiser of its own


def _kebab(name: str) -> str:
    return name.replace("_", "-")


class RunConfig(BaseModel):
    """Every setting of a run. Field descriptions give unit and range; defaults run the built-in world on two cores."""

    model_config = ConfigDict(alias_generator=_kebab, populate_by_name=True, extra="forbid", frozen=True, strict=True)

    # What to run
    method: Method = Field(
        "fgl",
        description="fgl, a federated baseline, local (each client trains alone), centralised (on all private images) "
        "or mixed (on those and the synthetic ones together).",
    )
    wrapped: Wrapped = Field("fedavg", description="Strategy to which FGL delegates the rounds after its prompt round.")
    rounds: int = Field(
        0,
        ge=0,
        le=10_000,
        description="Rounds of federated training; for FGL those after the prompt round (0: one-shot).",
    )
    seed: int = Field(0, ge=0, le=2**31 - 1, description="Seed of partition, initialisation, synthesis and training.")
    name: str = Field(
        "", max_length=80, description="Name of the run folder; empty: made from method, partition and seed."
    )
    runs_dir: str = Field("runs", min_length=1, description="Folder that receives the run folder.")
    tensorboard: bool = Field(
        False, description="Write TensorBoard scalars and images into the run folder's tensorboard/."
    )

    # Data
    dataset: str = Field(
        "world",
        min_length=1,
        description="'world', 'hub:ID', 'folder:PATH', 'domainnet:PATH' or 'imagenet-SUBSET:PATH'.",
    )
    dataset_config: str = Field(
        "", description="Hub data sets: configuration to load, where there are several; empty: the only or default one."
    )
    image_size: int = Field(32, ge=16, le=1024, description="Side of the learner's square input, in pixels.")
    private_images: int = Field(
        2100, ge=1, description="Built-in world: images of the private split, over all clients."
    )
    validation_images: int = Field(600, ge=1, description="Built-in world: images of the validation split.")
    test_images: int = Field(1800, ge=1, description="Built-in world: images of the test split.")
    clients: int = Field(5, ge=1, le=100_000, description="Number of clients.")
    partition: Literal["iid", "dirichlet", "domain"] = Field(
        "dirichlet", description="How the private split is divided: iid, Dirichlet over labels, or one style a client."
    )
    beta: float = Field(0.5, gt=0, description="Dirichlet concentration: smaller is more skewed.")

    # Prompts
    prompt_every: int = Field(
        0,
        ge=0,
        description="Federated rounds after which clients are asked for prompts again; 0: they are asked once.",
    )
    prompt_level: Literal["names", "class", "class-style", "instance", "embeddings", "tokens"] = Field(
        "class-style",
        description="What a client sends: nothing, a prompt a class, one a class and style, a caption an image, mean "
        "embeddings of captions, or learned tokens.",
    )
    prompt_template: str = Field(
        "a {style} of a {class}",
        min_length=1,
        max_length=200,
        description="Prompt of the class-style level; {class} and {style} are filled in.",
    )
    class_template: str = Field(
        "{class}",
        min_length=1,
        max_length=200,
        description="Prompt of the names and class levels; {class} is filled in.",
    )
    captioner: str = Field(
        "miniature",
        min_length=1,
        description="Image-to-text model of the instance and embeddings levels: hub id, local path, or 'miniature'.",
    )
    captioner_revision: str = Field("", description="Hub revision of the captioner; empty: the default branch.")
    instance_template: str = Field(
        "{class}, {caption}, {style}",
        min_length=1,
        max_length=200,
        description="Prompt of the instance and embeddings levels; {class}, {caption} and {style} are filled in.",
    )
    max_captions: int = Field(1000, ge=1, description="Images that a client captions, or learns tokens from, at most.")
    embedding_groups: Literal["class", "class-style"] = Field(
        "class-style", description="Embeddings level: captions are averaged by class, or by class and style."
    )
    embedding_clusters: int = Field(
        1, ge=1, le=64, description="Embeddings level: embeddings of each group, the means of as many clusters."
    )
    token_subject: Literal["class", "style"] = Field(
        "class", description="Tokens level: what a learned token stands for."
    )
    token_names: str = Field(
        "", description="Tokens level: classes or styles to learn, separated by commas; others go by words. Empty: all."
    )
    token_vectors: int = Field(4, ge=1, le=16, description="Tokens level: vectors of a learned token.")
    token_steps: int = Field(300, ge=1, description="Tokens level: steps of a client's textual inversion.")
    token_lr: float = Field(0.02, gt=0, description="Tokens level: learning rate of textual inversion (Adam).")
    budget_rule: Literal["uniform", "by-count", "by-deficit"] = Field(
        "uniform",
        description="How images-per-class times the classes is spent: evenly, by the private images behind a prompt, "
        "or where real and synthetic images are fewest.",
    )
    max_client_images: int = Field(
        0, ge=0, description="Synthetic images that one client's prompts may cause; 0: no cap but the budget."
    )

    # Synthesis
    generator: str = Field(
        "miniature-fast",
        min_length=1,
        description="Text-to-image model: hub id, local path, or 'miniature', 'miniature-fast'.",
    )
    generator_revision: str = Field("", description="Hub revision of the generator; empty: the default branch.")
    images_per_class: int = Field(210, ge=1, description="Synthetic images a class, over all clients.")
    steps: int = Field(0, ge=0, le=1000, description="Denoising steps; 0: the generator's own default.")
    guidance: float = Field(
        -1.0, ge=-1, le=50, description="Guidance scale; -1: the generator's own default; 0 or 1: none."
    )
    guidance_from: float = Field(0.0, ge=0, lt=1, description="Share of the steps after which guidance begins.")
    guidance_until: float = Field(1.0, gt=0, le=1, description="Share of the steps after which guidance ends.")
    scheduler: Literal["", "ddim", "dpm++", "unipc", "euler"] = Field(
        "", description="Solver of the denoising steps; empty: the generator's own."
    )
    negative_prompt: str = Field("", max_length=500, description="What the generator should avoid.")
    synthesis_precision: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto",
        description="Precision of the generator; auto: bfloat16 where the hardware multiplies it, else float32.",
    )
    synthesis_batch_size: int = Field(0, ge=0, description="Images drawn at once; 0: chosen from free memory.")
    synthesis_engine: Literal["local", "ray"] = Field(
        "local", description="Where images are drawn: this process or Ray actors."
    )
    synthesis_actors: int = Field(1, ge=1, description="Ray engine: number of actors.")
    ray_address: str = Field(
        "", description="Ray engine: address of a running cluster; empty: RAY_ADDRESS, else this machine."
    )
    store_dir: str = Field("", description="Synthetic store; empty: 'store' inside runs-dir. Runs may share it.")

    # Learner
    model: Literal["small-resnet", "resnet-18", "resnet-34", "resnet-50"] = Field(
        "small-resnet", description="Classifier."
    )
    norm: Literal["group", "batch"] = Field(
        "group",
        description="Normalisation layers of the classifier. Running statistics of 'batch' are pooled over clients.",
    )
    batch_size: int = Field(128, ge=1, description="Images a step of SGD, on clients and server.")
    momentum: float = Field(0.9, ge=0, lt=1, description="Momentum of SGD.")
    server_epochs: int = Field(
        60, ge=1, description="Epochs of server training: synthetic (FGL) or real (centralised)."
    )
    server_lr: float = Field(0.1, gt=0, description="Peak learning rate of server training.")
    server_weight_decay: float = Field(2e-4, ge=0, description="Weight decay of server training.")
    local_epochs: int = Field(5, ge=1, description="Epochs of a client's training in a round.")
    local_lr: float = Field(0.1, gt=0, description="Learning rate of a client's training.")
    local_weight_decay: float = Field(1e-4, ge=0, description="Weight decay of a client's training.")
    fine_tune_epochs: int = Field(
        0, ge=0, description="Epochs of server fine-tuning on the synthetic store after each round."
    )
    fine_tune_lr: float = Field(
        0.01, gt=0, description="Peak learning rate of fine-tuning: small, for it refines a model and starts none."
    )
    fraction: float = Field(1.0, gt=0, le=1, description="Share of the clients that train in a round.")
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

    # Machine
    device: str = Field(
        "auto", pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$", description="Device: auto, cpu, mps, cuda or cuda:N."
    )
    precision: Literal["float32", "bfloat16", "float16"] = Field("float32", description="Precision of the learner.")
    node_timeout: float = Field(
        120.0, gt=0, description="Seconds to wait for the expected clients before the first round."
    )
    round_timeout: float = Field(3600.0, gt=0, description="Seconds to wait for the clients' replies in a round.")

    @model_validator(mode="before")
    @classmethod
    def _whole_floats(cls, data: Any) -> Any:
        """TOML and Flower write `1` where `1.0` is meant: accept whole numbers for float fields (never bool)."""
        if isinstance(data, dict):
            floats = {_kebab(n) for n, f in cls.model_fields.items() if f.annotation is float}
            data = {
                k: float(v) if _kebab(k) in floats and isinstance(v, int) and not isinstance(v, bool) else v
                for k, v in data.items()
            }
        return data

    @model_validator(mode="after")
    def _contradictions(self) -> Self:
        if self.method not in {"fgl", "mixed"} | METHODS_WITHOUT_CLIENTS and self.rounds == 0:
            raise ValueError(f"rounds = 0 leaves nothing for method = {self.method!r} to do: set rounds to at least 1")
        if self.norm == "batch" and (
            stepping := {self.method, self.wrapped if self.method == "fgl" else ""} & _STEPPING
        ):
            raise ValueError(
                f"norm = 'batch' cannot go with {stepping.pop()}: its server would step the running statistics as if "
                "they were weights; use norm = 'group'"
            )
        if self.method in {"mixed"} | METHODS_WITHOUT_CLIENTS and self.rounds:
            raise ValueError(
                f"method = {self.method!r} trains in one place and has no federated rounds: set rounds to 0 "
                "(server-epochs says how long it trains)"
            )
        if self.prompt_every and self.method != "fgl":
            raise ValueError("prompt-every needs method = 'fgl': other methods have no federated rounds after prompts")
        if self.prompt_every and self.rounds <= self.prompt_every:
            raise ValueError(
                f"prompt-every = {self.prompt_every} has no effect with rounds = {self.rounds}, as nobody is asked "
                "after the last round: set rounds to more than prompt-every, or prompt-every to 0"
            )
        if self.fine_tune_epochs and self.method != "fgl":
            raise ValueError("fine-tune-epochs needs method = 'fgl': other methods have no synthetic images to tune on")
        if self.fine_tune_epochs and self.rounds == 0:
            raise ValueError("fine-tune-epochs acts after each federated round: set rounds to at least 1")
        for key, template in (("prompt-template", self.prompt_template), ("class-template", self.class_template)):
            try:
                template.format(**{"class": "star", "style": "sketch"})
            except (KeyError, IndexError, ValueError) as error:
                raise ValueError(f"{key} may hold only {{class}} and {{style}}: {template!r}") from error
            if "{class}" not in template:
                raise ValueError(f"{key} must hold {{class}}: {template!r}")
        try:
            self.instance_template.format(**{"class": "star", "style": "sketch", "caption": "a star"})
        except (KeyError, IndexError, ValueError) as error:
            raise ValueError(
                f"instance-template may hold only {{class}}, {{caption}} and {{style}}: {self.instance_template!r}"
            ) from error
        if self.dataset_config and not self.dataset.startswith("hub:"):
            raise ValueError("dataset-config names a configuration of a hub data set: it needs dataset = 'hub:ID'")
        if self.guidance_from >= self.guidance_until:
            raise ValueError("guidance acts between guidance-from and guidance-until: the first must be the smaller")
        if "/" in self.name or self.name in {".", ".."}:
            raise ValueError("name is one folder name: it may not hold '/'")
        return self

    @classmethod
    def parse(cls, values: dict[str, Any]) -> Self:
        """Return the configuration these kebab-case keys describe.

        Raises
        ------
        ConfigError
            With one sentence a problem, naming the key as it is spelled in the file.
        """
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise ConfigError("; ".join(_sentence(dict(e)) for e in error.errors())) from None

    @classmethod
    def load(cls, path: str | Path, **overrides: Any) -> Self:
        """Return the configuration of a TOML file; `overrides` (snake_case) win over the file.

        Raises
        ------
        ConfigError
            If the file is missing, is not TOML or describes no valid run.
        """
        try:
            values = tomllib.loads(Path(path).read_text(encoding="utf-8"))
        except OSError as error:
            raise ConfigError(f"cannot read the configuration {path}: {error.strerror}") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path} is not valid TOML: {error}") from None
        values.update({_kebab(k): v for k, v in overrides.items()})
        try:
            return cls.parse(values)
        except ConfigError as error:
            raise ConfigError(f"{path}: {error}") from None

    def to_flat(self) -> dict[str, str | int | float | bool]:
        """Return the kebab-case keys and scalar values, as Flower's run config and TOML want them."""
        return self.model_dump(by_alias=True)


def _sentence(error: dict[str, Any]) -> str:
    key = ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden" and isinstance(error["input"], dict):
        return f"[{key}] is refused: a run's file is flat, it has keys and no sections"
    if error["type"] == "extra_forbidden":
        return f"unknown key {key!r}{_did_you_mean(key)}"
    if not key:
        return str(error["msg"]).removeprefix("Value error, ")
    return f"{key} = {error['input']!r} is refused: {error['msg'][0].lower()}{error['msg'][1:]}"


def _did_you_mean(key: str) -> str:
    import difflib

    near = difflib.get_close_matches(_kebab(key), [_kebab(n) for n in RunConfig.model_fields], n=1)
    return f" (did you mean {near[0]!r}?)" if near else "; see `fgl config` for every key"


def describe_keys() -> list[tuple[str, str, str, str, str]]:
    """Return (key, type, default, range, meaning) of every key, in the order of the file."""
    return [
        (_kebab(name), *_type_and_range(field), field.description or "")
        for name, field in RunConfig.model_fields.items()
    ]


def _type_and_range(field: FieldInfo) -> tuple[str, str, str]:
    default = json.dumps(field.default)
    if get_origin(field.annotation) is Literal:
        return "string", default, ", ".join(map(str, get_args(field.annotation)))
    kinds: dict[Any, str] = {str: "string", int: "whole number", float: "number", bool: "true or false"}
    kind = kinds[field.annotation]
    signs = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<"}
    bounds = [f"{sign} {getattr(m, k)}" for m in field.metadata for k, sign in signs.items() if hasattr(m, k)]
    return kind, default, " and ".join(bounds)
