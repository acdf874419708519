"""What every part of a configuration has in common."""

from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, model_validator

__all__ = ["Part", "Seeded", "kebab"]

P = TypeVar("P", bound="Part")


def kebab(name: str) -> str:
    """Return a field's name as it is spelled in a file."""
    return name.replace("_", "-")


class Part(BaseModel):
    """Some keys of a configuration, immutable and hashable: functions take the part they need, caches are keyed so."""

    model_config = ConfigDict(alias_generator=kebab, populate_by_name=True, extra="forbid", frozen=True, strict=True)

    @classmethod
    def spelled(cls) -> frozenset[str]:
        """Return the keys as they are spelled in a file."""
        return frozenset(map(kebab, cls.model_fields))

    def part(self, kind: type[P]) -> P:
        """Return a part of these keys alone, for instance as the key of a cache."""
        return kind(**{name: getattr(self, name) for name in kind.model_fields})

    @model_validator(mode="before")
    @classmethod
    def _whole_floats(cls, data: Any) -> Any:
        """TOML and Flower write `1` where `1.0` is meant: accept whole numbers for float fields (never bool)."""
        if isinstance(data, dict):
            floats = {kebab(n) for n, f in cls.model_fields.items() if f.annotation is float}
            data = {
                k: float(v) if kebab(k) in floats and isinstance(v, int) and not isinstance(v, bool) else v
                for k, v in data.items()
            }
        return data


class Seeded(Part):
    """A part whose meaning depends on the run's seed."""

    seed: int = Field(0, ge=0, le=2**31 - 1, description="Seed of partition, initialisation, synthesis and training.")
