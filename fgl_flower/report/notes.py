"""What a reader may want to know of a run beside its figures, in sentences; imports nothing that takes time."""

from statistics import median

from fgl_flower.records.result import Result
from fgl_flower.report.formatting import human_bytes

# Bytes that HTTP, TLS and TCP make of a request of Flower 1.41 without its contents, as a node's polling shows them
# (docs/deployment.md).
REQUEST_UP, REQUEST_DOWN = 1_270, 370


def notes(result: Result) -> list[str]:
    """Return what clients selected, how long they learned and what the ledger leaves out, a sentence each."""
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
    if requests := result.requests_per_client:
        sentences.append(
            f"on the cable come, for each client, about {human_bytes(requests * REQUEST_UP)} up and "
            f"{human_bytes(requests * REQUEST_DOWN)} down of Flower's protocol ({requests:,.0f} requests), the app's "
            "bundle when a node first sees it, and the nodes' polling: the bytes above are those of the messages alone"
        )
    return sentences
