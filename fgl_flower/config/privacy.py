"""What a run promises the clients' images."""

from pydantic import Field

from fgl_flower.config.part import Part


class PrivacyConfig(Part):
    """A part of `RunConfig`; the descriptions of the fields give unit and range."""

    dp_epsilon: float = Field(
        0.0,
        ge=0,
        le=100,
        description="Differential privacy of all that a client sends in a run, for each of its images: clients add the "
        "noise. Levels names, class, class-style and votes, without federated rounds. 0: none.",
    )
    dp_delta: float = Field(
        0.0, ge=0, lt=1, description="Its delta; 0: 1 / n^1.1 with n the private images of all clients."
    )
