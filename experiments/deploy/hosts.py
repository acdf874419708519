"""What `fgl deploy init` reads: which machine serves, which nodes there are and what data each of them holds."""

import re
import tomllib
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from fgl_flower.errors import ConfigError

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?")


class _Table(BaseModel):
    model_config = ConfigDict(
        extra="forbid", frozen=True, populate_by_name=True, alias_generator=lambda name: name.replace("_", "-")
    )


class ServerHost(_Table):
    """The machine of the SuperLink."""

    address: str = Field(min_length=1, description="IP address or DNS name at which nodes reach it.")
    port: int = Field(8000, ge=1, le=65535)
    also: tuple[str, ...] = Field((), description="Further addresses that its certificate must name.")


class NodeHost(_Table):
    """A data owner's machine; the keys of its data are those of docs/nodes.md."""

    data: str = Field("", description="Its own data; empty: a share of the run's data set.")
    data_config: str = ""
    columns: str = ""
    labels: str = ""
    domain: str = ""
    port: int = Field(0, ge=0, le=65535, description="Local port of the SuperNode; 0: 9094 and up, one each.")


class Hosts(_Table):
    """A federation's machines."""

    name: str = Field("federation", description="What flwr calls it.")
    server: ServerHost
    nodes: dict[str, NodeHost] = Field(min_length=1)
    days: int = Field(365, ge=1, le=3650, description="Validity of the server's certificate.")

    @field_validator("nodes")
    @classmethod
    def _names(cls, nodes: dict[str, NodeHost]) -> dict[str, NodeHost]:
        for name in nodes:
            if not _NAME.fullmatch(name):
                raise ValueError(f"the node {name!r}: a name is of lower-case letters, digits and hyphens")
        return nodes

    @classmethod
    def read(cls, path: Path) -> Self:
        """Return the hosts that a TOML file names.

        Raises
        ------
        ConfigError
            If it cannot be read or holds anything else.
        """
        try:
            return cls.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
        except OSError as error:
            raise ConfigError(f"cannot read {path}: {error.strerror}") from None
        except ValidationError as error:
            first = error.errors()[0]
            raise ConfigError(f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None
        except ValueError as error:
            raise ConfigError(f"{path} is not valid TOML: {error}") from None
