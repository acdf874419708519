"""The owner's rules: what may leave a node, whatever the server asks for.

A TOML file on the node, named in Flower's node config (``policy="/etc/fgl/policy.toml"``). A file that is missing or
wrong forbids everything: every message is answered by an error.
"""

import tomllib
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from fgl_flower.errors import ConfigError
from fgl_flower.extension_points import PROMPT_LEVEL

REFUSE = "refuse"


class PolicyError(ConfigError):
    """The owner's rules forbid an answer, or cannot be read; the sentence goes to the server."""


class Policy(BaseModel):
    """An owner's rules; the defaults forbid nothing."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", populate_by_name=True, alias_generator=lambda name: name.replace("_", "-")
    )

    levels: tuple[str, ...] | None = Field(None, description="Prompt levels that may be answered; not given: all.")
    otherwise: str = Field(REFUSE, description="What to answer where another level is asked for: 'refuse' or a level.")
    max_prompts: int = Field(0, ge=0, description="Prompts of a reply, the most frequent ones; 0: no limit.")
    max_bytes: int = Field(0, ge=0, description="Bytes of a reply to a prompt round; 0: no limit.")
    min_images: int = Field(1, ge=1, description="Images that must stand behind a prompt or a class (k-anonymity).")
    never_mention: tuple[str, ...] = Field((), description="Classes whose images are as if they were not there.")
    training: bool = Field(True, description="Whether models may be trained on the images.")
    evaluation: bool = Field(True, description="Whether models may be evaluated on the images.")
    epsilon: float = Field(
        0.0,
        ge=0,
        description="Differential privacy that all runs together may spend of each image; with it nothing leaves "
        "without such a promise (dp-epsilon). 0: no rule.",
    )
    delta: float = Field(1e-5, gt=0, lt=1, description="The delta by which it is counted.")
    spent: str = Field("", description="File in which it is counted, needed with epsilon.")

    @model_validator(mode="after")
    def _counted(self) -> Self:
        if self.epsilon and not self.spent:
            raise ValueError("epsilon needs a file in which it is counted: set spent")
        return self

    @classmethod
    def read(cls, path: str) -> Self:
        """Return the rules in a TOML file.

        Raises
        ------
        PolicyError
            If it cannot be read or holds anything else; no path is in the sentence.
        """
        try:
            rules = cls.model_validate(tomllib.loads(Path(path).expanduser().read_text(encoding="utf-8")))
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            words = str(first["msg"]).removeprefix("Value error, ")
            raise PolicyError(
                f"the owner's rules are wrong, nothing is answered: {f'{where}: ' if where else ''}{words}"
            ) from None
        except (OSError, ValueError) as error:  # TOMLDecodeError and UnicodeDecodeError are ValueErrors
            kind = type(error).__name__
            raise PolicyError(f"the owner's rules cannot be read ({kind}), nothing is answered") from None
        if unknown := sorted({*(rules.levels or ()), rules.otherwise} - {REFUSE, *PROMPT_LEVEL.builtins}):
            raise PolicyError(f"the owner's rules name no prompt level by {unknown[0]!r}, nothing is answered")
        if rules.otherwise != REFUSE and rules.otherwise not in (rules.levels or ()):
            raise PolicyError(f"the owner's rules do not allow the level of otherwise = {rules.otherwise!r} itself")
        return rules

    def level(self, asked: str) -> str:
        """Return the level to answer at where `asked` is asked for.

        Raises
        ------
        PolicyError
            If the owner wants no answer then.
        """
        if self.levels is None or asked in self.levels:
            return asked
        if self.otherwise == REFUSE:
            raise PolicyError(f"the owner's rules forbid prompts of the level {asked!r}")
        return self.otherwise

    def permit(self, what: str) -> None:
        """Do nothing if 'training' or 'evaluation' is permitted.

        Raises
        ------
        PolicyError
            If not.
        """
        if not getattr(self, what):
            raise PolicyError(f"the owner's rules forbid {what}")
