"""What clients send in a prompt round, and how the image budget is spent on it."""

from typing import Annotated, Literal

from pydantic import Field

from fgl_flower.config.captioner import CaptionerConfig
from fgl_flower.config.part import Seeded
from fgl_flower.extension_points import BUDGET_RULE, PROMPT_LEVEL


class PromptConfig(CaptionerConfig, Seeded):
    """A part of `RunConfig`; the descriptions of the fields give unit and range."""

    prompt_every: int = Field(
        0,
        ge=0,
        description="Federated rounds after which clients are asked for prompts again; 0: they are asked once.",
    )
    client_evaluation: bool = Field(
        True,
        description="Ask clients after the one-shot training how the model does on their images, by class. It shows "
        "which classes the generator does not know; no image of the server's is needed for it.",
    )
    transfer_goal: float = Field(
        0.85,
        gt=0,
        le=1,
        description="prompt-level = 'auto': share of the clients' images of a class that the model must get right; of "
        "classes below it clients are asked for captions, and for more where even those leave less than half right.",
    )
    max_client_bytes: int = Field(
        0,
        ge=0,
        description="Bytes that a client's prompts may take in all, without the envelope of Flower's messages; rarer "
        "prompts are left out beyond it. 0: no limit.",
    )
    prompt_level: Annotated[str, PROMPT_LEVEL] = Field(
        "class-style",
        description="What a client sends: nothing, a prompt a class, one a class and domain, a caption an image, "
        "embeddings of captions, learned tokens, or votes for prompts of the server's; or 'auto': more where less does "
        "badly on the clients' images.",
    )
    prompt_template: str = Field(
        "a {style} of a {class}",
        min_length=1,
        max_length=200,
        description="Prompt of the class-style level; {class} and {style} (the domain) are filled in.",
    )
    class_template: str = Field(
        "{class}",
        min_length=1,
        max_length=200,
        description="Prompt of the names and class levels; {class} is filled in.",
    )
    instance_template: str = Field(
        "{class}, {caption}, {style}",
        min_length=1,
        max_length=200,
        description="Prompt of the instance and embeddings levels; {class}, {caption} and {style} are filled in.",
    )
    max_captions: int = Field(1000, ge=1, description="Images that a client captions, or learns tokens from, at most.")
    embedding_groups: Literal["class", "class-style"] = Field(
        "class-style", description="Embeddings level: captions are grouped by class, or by class and domain."
    )
    embedding_clusters: int = Field(
        8,
        ge=1,
        le=64,
        description="Embeddings level: embeddings of each group, one for each of as many clusters of its captions.",
    )
    embedding_centre: Literal["medoid", "mean"] = Field(
        "medoid", description="Embeddings level: a cluster's most central caption, or the mean of its captions."
    )
    embedding_vectors: int = Field(
        128,
        ge=0,
        description="Embeddings level: different vectors that a client sends, found by k-means among those of all its "
        "embeddings; 0: all of them, not quantised.",
    )
    token_subject: Literal["class", "style"] = Field(
        "class", description="Tokens level: what a learned token stands for."
    )
    token_names: str = Field(
        "",
        description="Tokens level: classes or domains to learn, separated by commas; others go by words. Empty: all.",
    )
    token_prompts: Literal["captions", "class-style"] = Field(
        "captions", description="Tokens level: the prompts in which tokens stand, by class and domain or by caption."
    )
    token_vectors: int = Field(4, ge=1, le=16, description="Tokens level: vectors of a learned token.")
    token_steps: int = Field(300, ge=1, description="Tokens level: steps of a client's textual inversion.")
    token_lr: float = Field(0.02, gt=0, description="Tokens level: learning rate of textual inversion (Adam).")
    vocabulary: str = Field(
        "",
        description="Votes level, and embeddings under dp-epsilon: TOML file of the words that prompts are made of, on "
        "the server, for embeddings on the nodes, too; empty: the words that the miniature generator was taught.",
    )
    image_encoder: str = Field(
        "captions",
        min_length=1,
        description="Votes level: what images are compared by: 'captions', the words that the captioner says of them, "
        "or the hub id or folder of an image encoder (CLIP, DINOv2, ...).",
    )
    vote_rounds: int = Field(
        2, ge=1, le=20, description="Votes level: how often clients vote; every vote takes its part of dp-epsilon."
    )
    vote_candidates: int = Field(
        64, ge=2, le=10_000, description="Votes level: candidates of a class in each vote, at most."
    )
    vote_images: int = Field(
        8, ge=1, le=1000, description="Votes level: images that are drawn and compared of each candidate."
    )
    budget_rule: Annotated[str, BUDGET_RULE] = Field(
        "uniform",
        description="How images-per-class times the classes is spent: evenly, by the private images behind a prompt, "
        "or where real and synthetic images are fewest.",
    )
    max_client_images: int = Field(
        0, ge=0, description="Synthetic images that one client's prompts may cause; 0: no cap but the budget."
    )
