"""Prompts as the federation offers them: those of all clients, without repetition."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from fgl_flower.wire.payload import Prompt, PromptPayload
from fgl_flower.wire.unicode_checks import near_key


@dataclass(frozen=True)
class Offer:
    """A prompt as the federation offers it.

    Attributes
    ----------
    prompt : Prompt
        Its count is the sum over the clients, each clipped.
    senders : tuple of int
        Partitions of the clients that sent it, or one nearly equal to it; ascending.
    """

    prompt: Prompt
    senders: tuple[int, ...]


def merge(payloads: Iterable[PromptPayload], clip: int) -> tuple[Offer, ...]:
    """Return the prompts of all clients, those that say the same merged into their most frequent wording.

    Two prompts say the same if they name one class and domain and differ in nothing but case, accents, digits,
    punctuation and spaces: a flood of such prompts is one prompt.

    Parameters
    ----------
    payloads : iterable of PromptPayload
        One a client, none of embeddings (each of those stands for itself).
    clip : int
        A client's count of a prompt above this counts as this many, however it is spelled and repeated.
    """
    counts: Counter[tuple[str, str, str]] = Counter()
    wordings: dict[tuple[str, str, str], Counter[str]] = defaultdict(Counter)
    senders: dict[tuple[str, str, str], set[int]] = defaultdict(set)
    for payload in payloads:
        own: Counter[tuple[str, str, str]] = Counter()
        for p in payload.prompts:
            key = (p.label, p.domain, near_key(p.text))
            own[key] += p.count
            wordings[key][p.text] += min(p.count, clip)
            senders[key].add(payload.partition_id)
        counts.update({key: min(count, clip) for key, count in own.items()})
    offers = []
    for key, count in counts.items():
        text = min(wordings[key], key=lambda wording: (-wordings[key][wording], wording))
        offers.append(Offer(Prompt(text, key[0], key[1], count), tuple(sorted(senders[key]))))
    return tuple(sorted(offers, key=lambda offer: offer.prompt))


def own_name(text: str, payload: PromptPayload) -> str:
    """Return the name under which a plan keeps one client's embedding of a prompt: no two clients' are the same."""
    return f"{text} (client {payload.partition_id})"
