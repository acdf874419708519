"""What a run's page and the terminal say of its privacy: what left the clients, the promise, what audits found."""

from fgl_flower.config import METHODS_WITHOUT_CLIENTS
from fgl_flower.records.reading import Run
from fgl_flower.records.result import Result

__all__ = ["privacy_rows", "promise"]

_LEAVES = {
    "names": "nothing",
    "class": "the names of the classes that it holds, how many images of each",
    "class-style": "the names of the classes and styles that it holds, how many images of each",
    "instance": "a caption of each image, scrubbed, how many images of each class",
    "embeddings": "text embeddings that stand for clusters of its captions, how many images of each class and cluster",
    "votes": "how many of its images are nearest to each of the server's candidates",
    "tokens": "learned tokens of its classes or styles, the prompts in which they stand, how many images of each class",
    "auto": "names of classes and styles, and of classes on which the model does badly captions, embeddings or tokens",
}
_NOISY_MEANS = "of each class and style, the number of its images and the mean of their captions in a public basis"
_AUDITS = {
    "promise": "audit of the promise",
    "prompts": "audit of the prompts",
    "copies": "audit of copies",
    "membership": "audit of membership",
}
_NONE = "none was made: fgl audit --help"


def privacy_rows(run: Run) -> list[tuple[str, str]]:
    """Return names and texts of the privacy section of a finished run; empty where no data are divided at all."""
    result = run.result
    if result is None or run.config.method in METHODS_WITHOUT_CLIENTS | {"mixed"}:
        return []
    level = [("prompt level", run.config.prompt_level)] if run.config.method == "fgl" else []
    audits = [(_AUDITS[name], figures["summary"]) for name, figures in run.audits.items()]
    return [
        *level,
        ("what left a client", "; ".join(_left(run))),
        *_promised(result, summed=run.config.prompt_level == "votes"),
        *(audits or [("audits", _NONE)]),
    ]


def promise(result: Result) -> str:
    """Return a sentence on the differential privacy of what clients sent, "" where nothing was promised."""
    if not (promised := result.privacy):
        return ""
    return (
        f"what clients sent is differentially private for each of their images: epsilon {promised['spent']:.3g} of "
        f"{promised['epsilon']:g} at delta {promised['delta']:.2g}, by noise of standard deviation "
        f"{promised['noise']:.3g} {_noised(promised)} in {_releases(promised)}"
        + (f"; {_least(promised)}" if "least" in promised else "")
    )


def _left(run: Run) -> list[str]:
    config = run.config
    left = []
    if config.method == "fgl":
        own = f"what the level {config.prompt_level} makes of its images"
        told = _LEAVES.get(config.prompt_level, own)
        left.append(_NOISY_MEANS if config.dp_epsilon and config.prompt_level == "embeddings" else told)
        if config.client_evaluation:
            left.append("of each class, how many of its images the one-shot model gets right, of how many")
    if config.rounds:
        left.append(f"in {config.rounds:,} rounds, a model trained on its images")
    return left


def _promised(result: Result, *, summed: bool) -> list[tuple[str, str]]:
    """Return rows on the promise; `summed`: the least count is one of all clients together."""
    name = "differential privacy"
    if not (promised := result.privacy):
        return [(name, "nothing is promised (dp-epsilon = 0)")]
    rows = [
        (name, f"epsilon {promised['epsilon']:g} at delta {promised['delta']:.2g}, for each image of a client"),
        ("spent by the accountant", f"epsilon {promised['spent']:.3g} by {_releases(promised)}"),
        ("noise", f"standard deviation {promised['noise']:.3g} {_noised(promised)}, added by the client"),
    ]
    if "least" in promised:
        rows.append(("least count", _least(promised) + (", summed over all clients" if summed else "")))
    return rows


def _releases(promised: dict[str, float]) -> str:
    times, plural = f"{promised['releases']:,.0f}", "" if promised["releases"] == 1 else "s"
    if "rate" in promised:
        rate = f"in each of which an image takes part with probability {promised['rate']:.3g}"
        return f"{times} step{plural} of a client's training, {rate}"
    return f"{times} list{plural} of numbers"


def _noised(promised: dict[str, float]) -> str:
    if "clip" in promised:
        return f"times the norm of {promised['clip']:g}, to which an image's gradient is clipped,"
    return "on each number"


def _least(promised: dict[str, float]) -> str:
    return f"counts below {promised['least']:.1f} were left out"
