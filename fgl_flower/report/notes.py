"""What a reader may want to know of a run beside its figures, in sentences; imports nothing that takes time."""

from statistics import median

from fgl_flower.records.result import Result


def notes(result: Result) -> list[str]:
    """Return what clients selected, and how long they learned, a sentence each."""
    sentences = []
    if result.selected_round is not None and result.client_accuracy is not None:
        sentences.append(
            f"clients selected the model of round {result.selected_round}, which gets {result.client_accuracy:.1%} of "
            "their images right"
        )
    if seconds := sorted(result.learning_seconds.values()):
        sentences.append(
            f"learning tokens took {len(seconds)} clients {seconds[0]:,} to {seconds[-1]:,} s each, as they say "
            f"(median {median(seconds):,.0f} s)"
        )
    return sentences
