"""One configuration for every way to run.

A run is described by a flat TOML file of kebab-case keys. `RunConfig` gives every key its type, unit, range and a
sentence; unknown keys, wrong types and contradictions are refused before anything is written. The same keys stand in
`[tool.flwr.app.config]` of pyproject.toml, because Flower accepts only keys it finds there.
"""

import difflib
import tomllib
from pathlib import Path
from typing import Any, Self

from pydantic import ValidationError, ValidationInfo, model_validator

from fgl_flower.config.data import COLUMNS, DataConfig
from fgl_flower.config.federation import FederationConfig
from fgl_flower.config.learner import LearnerConfig
from fgl_flower.config.machine import MachineConfig
from fgl_flower.config.names import read_names
from fgl_flower.config.part import kebab
from fgl_flower.config.places import PlacesConfig
from fgl_flower.config.privacy import PrivacyConfig
from fgl_flower.config.promises import promise_fault
from fgl_flower.config.prompts import PromptConfig
from fgl_flower.config.synthesis import SynthesisConfig
from fgl_flower.errors import ConfigError
from fgl_flower.extension import STORED
from fgl_flower.extension_points import METHOD, MODEL, ON_HUB, has_server_optimiser, is_strategy

__all__ = ["METHODS_WITHOUT_CLIENTS", "RunConfig"]

METHODS_WITHOUT_CLIENTS = frozenset({"centralised", "zero-shot"})


class RunConfig(  # later bases come first in the file
    MachineConfig,
    LearnerConfig,
    SynthesisConfig,
    PrivacyConfig,
    PromptConfig,
    DataConfig,
    FederationConfig,
    PlacesConfig,
):
    """Every setting of a run, flat. Defaults run the built-in world on two cores."""

    @model_validator(mode="after")
    def _contradictions(self, info: ValidationInfo) -> Self:
        if info.context == STORED:
            return self
        if self.rounds == 0 and (self.method == "local" or is_strategy(self.method)):
            raise ValueError(f"rounds = 0 leaves nothing for method = {self.method!r} to do: set rounds to at least 1")
        strategy = self.wrapped if self.method == "fgl" else self.method
        if self.norm == "batch" and has_server_optimiser(strategy):
            raise ValueError(
                f"norm = 'batch' cannot go with {strategy}: its server would step the running statistics as if "
                "they were weights; use norm = 'group'"
            )
        if self.train != "all" and self.model in MODEL.builtins:
            raise ValueError(
                f"train = {self.train!r} keeps the backbone as it is, and that of model = {self.model!r} begins at "
                "random: use a pretrained model = 'hub:ID', or train = 'all'"
            )
        if self.method == "zero-shot" and not self.model.startswith("hub:"):
            raise ValueError("method = 'zero-shot' needs a CLIP or SigLIP, model = 'hub:ID'")
        if self.method in {"mixed"} | METHODS_WITHOUT_CLIENTS and self.rounds:
            raise ValueError(
                f"method = {self.method!r} works in one place and has no federated rounds: set rounds to 0 "
                "(server-epochs says how long a server trains)"
            )
        if self.prompt_every and self.method != "fgl":
            raise ValueError("prompt-every needs method = 'fgl': other methods have no federated rounds after prompts")
        if self.prompt_every and self.rounds <= self.prompt_every:
            raise ValueError(
                f"prompt-every = {self.prompt_every} has no effect with rounds = {self.rounds}, as nobody is asked "
                "after the last round: set rounds to more than prompt-every, or prompt-every to 0"
            )
        if self.prompt_level == "auto" and self.method == "mixed":
            raise ValueError("prompt-level = 'auto' needs method = 'fgl': with method = 'mixed' name a level")
        if self.prompt_level == "auto" and self.method == "fgl" and not self.client_evaluation:
            raise ValueError(
                "prompt-level = 'auto' goes by what clients say of the model: client-evaluation must be on"
            )
        if self.prompt_level == "auto" and self.prompt_every:
            raise ValueError("prompt-level = 'auto' asks again by itself: set prompt-every to 0, or name a level")
        if self.prompt_level == "votes" and self.prompt_every:
            raise ValueError("prompt-level = 'votes' asks several times by itself: set prompt-every to 0")
        if self.prompt_level == "votes" and self.max_client_bytes:
            raise ValueError(
                "max-client-bytes would cut votes, which are as many as candidates: set it to 0 (vote-candidates)"
            )
        if self.prompt_level == "votes" and self.max_client_images:
            raise ValueError("max-client-images has no effect on votes, which no client owns: set it to 0")
        if self.selection == "clients" and self.method in {"local", "mixed"} | METHODS_WITHOUT_CLIENTS:
            raise ValueError(
                f"selection = 'clients' goes with no method = {self.method!r}: clients judge no model there"
            )
        if self.selection == "clients" and self.method == "fgl" and not self.client_evaluation:
            raise ValueError(
                "selection = 'clients' goes by what clients say of the model: client-evaluation must be on"
            )
        if self.patience and self.selection != "clients":
            raise ValueError("patience counts rounds that clients judge: it needs selection = 'clients'")
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
        if self.min_clients > self.clients:
            raise ValueError(f"min-clients = {self.min_clients} is more than clients = {self.clients}")
        if self.dataset == "nodes" and len(self.class_names) < 2:
            raise ValueError("dataset = 'nodes': the run must name at least two classes (classes, or classes-from)")
        if self.dataset == "nodes" and self.method in {"local", "mixed"} | METHODS_WITHOUT_CLIENTS:
            raise ValueError(f"dataset = 'nodes' goes with no method = {self.method!r}: the server has no images")
        if self.dataset == "nodes" and self.method == "fgl" and not self.client_evaluation:
            raise ValueError("dataset = 'nodes': clients choose the model, client-evaluation must be on")
        if self.dataset == "nodes" and (self.private_half or self.canaries):
            raise ValueError("dataset = 'nodes': private-half and canaries are for data that the server divides")
        if self.keep_models and not self.rounds:
            raise ValueError("keep-models keeps models of federated rounds: set rounds to at least 1, or it to 0")
        if self.dp_epsilon and (fault := promise_fault(self)):
            raise ValueError(fault)
        if self.dp_epsilon and self.dataset == "nodes" and not self.dp_delta:
            raise ValueError("dataset = 'nodes': nobody knows how many images there are, so dp-delta must be set")
        if self.dataset.partition(":")[0] not in ON_HUB:
            for key in ("dataset-config", "dataset-revision", *(f"{role}-column" for role in COLUMNS)):
                if getattr(self, key.replace("-", "_")):
                    raise ValueError(f"{key} is for data sets of the hub: it needs dataset = 'hub:ID' or a named one")
        if self.guidance_from >= self.guidance_until:
            raise ValueError("guidance acts between guidance-from and guidance-until: the first must be the smaller")
        if "/" in self.name or self.name in {".", ".."}:
            raise ValueError("name is one folder name: it may not hold '/'")
        return self

    @classmethod
    def parse(cls, values: dict[str, Any], *, stored: bool = False) -> Self:
        """Return the configuration these kebab-case keys describe.

        With `stored`, one that was valid when a run folder was made: objects of the user's own are not loaded.

        Raises
        ------
        ConfigError
            With one sentence a problem, naming the key as it is spelled in the file.
        """
        try:
            return cls.model_validate(values, context=STORED if stored else None)
        except ValidationError as error:
            raise ConfigError("; ".join(_sentence(dict(e)) for e in error.errors())) from None

    @classmethod
    def load(cls, path: str | Path, *, stored: bool = False, **overrides: Any) -> Self:
        """Return the configuration of a TOML file; `overrides` (snake_case) win over the file. `stored`: see `parse`.

        The file may name its classes by ``classes-from``, a file with a name a line or a folder with a folder a class,
        relative to it.

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
        values.update({kebab(k): v for k, v in overrides.items()})
        if isinstance(names := values.pop("classes-from", None), str) and "classes" not in values:
            values["classes"] = read_names(Path(path).parent / Path(names).expanduser())
        try:
            return cls.parse(values, stored=stored)
        except ConfigError as error:
            raise ConfigError(f"{path}: {error}") from None

    @property
    def draws(self) -> bool:
        """Whether the method draws images, as far as the configuration can tell: a user's own may."""
        return self.method in {"fgl", "mixed"} or (METHOD.refers(self.method) and not is_strategy(self.method))

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
    problem = str(error["msg"]).removeprefix("Value error, ")
    return f"{key} = {error['input']!r} is refused: {problem[0].lower()}{problem[1:]}"


def _did_you_mean(key: str) -> str:
    near = difflib.get_close_matches(kebab(key), [kebab(n) for n in RunConfig.model_fields], n=1)
    return f" (did you mean {near[0]!r}?)" if near else "; see `fgl config` for every key"
