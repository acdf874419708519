"""What a method returns: the final model or models, and what the result and the report are to hold of the way there."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from flwr.app import ArrayRecord

from fgl_flower.records.run_folder import Sample


@dataclass(frozen=True)
class Outcome:
    """How a method ended.

    Attributes
    ----------
    models : sequence of ArrayRecord
        The final global model, or one model a client: then the result is their mean.
    samples : sequence of Sample
        Synthetic images for the report.
    figures : mapping of str to Any
        Further entries of the result, by the names of `Result`'s fields.
    class_counts : mapping of int to mapping of str to int
        Images of each class that clients claim to hold, by partition; empty where the method did not ask.
    """

    models: Sequence[ArrayRecord]
    samples: Sequence[Sample] = ()
    figures: Mapping[str, Any] = field(default_factory=dict)
    class_counts: Mapping[int, Mapping[str, int]] = field(default_factory=dict)
