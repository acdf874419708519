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
        "noise. Of fgl without federated rounds it covers prompts (names, class, class-style, votes, embeddings), of "
        "fedavg, fedavgm, fedadam and fedyogi the models (DP-SGD). 0: none.",
    )
    dp_delta: float = Field(
        0.0, ge=0, lt=1, description="Its delta; 0: 1 / n^1.1 with n the private images of all clients."
    )
    dp_clip: float = Field(
        1.0, gt=0, description="DP-SGD: an image's gradient of larger norm is scaled down to this norm."
    )
    dp_sample_rate: float = Field(
        0.0,
        ge=0,
        le=1,
        description="DP-SGD: probability with which an image takes part in a step of a client's training, the same for "
        "all clients. A step divides the sum of gradients by batch-size. 0: batch-size over the mean number of a "
        "client's images.",
    )
    dp_dimensions: int = Field(
        32,
        ge=1,
        le=256,
        description="Embeddings level under dp-epsilon: numbers that are left of an embedding, in a basis made of "
        "public sentences. More of them tell more and get noise each.",
    )
