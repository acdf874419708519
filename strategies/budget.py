"""From what many clients said to how many images of which prompt: merge, de-duplicate, balance, cap.

An allotment is a queue rather than a sum: the server draws image after image from the prompt whose turn it is, and the
budget says where to stop. So a larger budget keeps the images of a smaller one whatever the rule, and when the prompts
of a client have had their share the others simply move up.
"""

import heapq
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from typing import Literal

from fgl_flower.wire.payload import Prompt, PromptPayload

Rule = Literal["uniform", "by-count", "by-deficit"]

OUT_OF_PROPORTION = 10  # a client's histogram counts at most this many times the median client's


def held_images(payloads: Sequence[PromptPayload], clip: int) -> dict[str, int]:
    """Return how many real images of each class the clients hold, as far as their claims are in proportion.

    A claim above `clip` counts as `clip`; then a histogram of more than `OUT_OF_PROPORTION` times the median client's
    images is scaled down to that.
    """
    claims = [{name: min(n, clip) for name, n in payload.class_counts.items()} for payload in payloads]
    totals = [sum(claim.values()) for claim in claims]
    bound = OUT_OF_PROPORTION * median([t for t in totals if t] or [0])
    held: Counter[str] = Counter()
    for claim, total in zip(claims, totals, strict=True):
        scale = min(1.0, bound / total) if total else 0.0
        held.update({name: int(n * scale) for name, n in claim.items()})
    return dict(held)


def allot(
    offers: Sequence[Offer], budget: int, rule: Rule, *, held: Mapping[str, int] | None = None, client_cap: int = 0
) -> list[tuple[Prompt, int]]:
    """Spend an image budget.

    - ``uniform``: evenly over the classes, within a class over its styles, within a style over its prompts.
    - ``by-count``: in proportion to the private images behind each prompt (Sainte-Lague's divisors).
    - ``by-deficit``: to the class of which the fewest images exist, real and synthetic ones together; within it evenly.

    Parameters
    ----------
    offers : sequence of Offer
    budget : int
        Images in all.
    rule : str
    held : mapping of str to int, optional
        Real images of each class, for ``by-deficit``.
    client_cap : int
        Images that one client's prompts may cause; an image is charged to whichever of the prompt's senders has caused
        the fewest. 0: no cap.

    Returns
    -------
    list of (Prompt, int)
        In the order of the prompts; those that get no image are left out.
    """
    drawn: Counter[int] = Counter()
    charged: Counter[int] = Counter()
    turns = _turns(offers, rule, held or {})
    while drawn.total() < budget and turns.heap:
        turn = turns.peek()
        senders = offers[turn].senders
        payer = min(senders, key=lambda client: charged[client], default=None)
        spent = bool(client_cap) and payer is not None and charged[payer] >= client_cap
        turns.advance(drop=spent)
        if not spent:
            drawn[turn] += 1
            charged[payer if payer is not None else -1] += 1
    rows = [(offers[i].prompt, n) for i, n in drawn.items()]
    return sorted(rows, key=lambda row: (row[0].label, row[0].domain, row[0].text))


class _Turns:
    """Children that take turns: next is whose (taken + 1/2) / weight is smallest, in order where these are equal.

    Parameters
    ----------
    children : sequence of (int or _Turns, float, int)
        An offer's position or a group; its weight, > 0; and what it has taken beforehand.
    """

    def __init__(self, children: Sequence[tuple["int | _Turns", float, int]]) -> None:
        self.heap = [((t + 0.5) / w, i, t, w, child) for i, (child, w, t) in enumerate(children)]
        heapq.heapify(self.heap)

    def peek(self) -> int:
        """Return the offer whose turn it is."""
        child = self.heap[0][-1]
        return child.peek() if isinstance(child, _Turns) else child

    def advance(self, drop: bool) -> None:
        """Go on to the next turn, having drawn for this one or, if `drop`, having taken it out for good."""
        _, position, taken, weight, child = heapq.heappop(self.heap)
        taken += not drop
        if isinstance(child, _Turns):
            child.advance(drop)
        if child.heap if isinstance(child, _Turns) else not drop:
            heapq.heappush(self.heap, ((taken + 0.5) / weight, position, taken, weight, child))


def _turns(offers: Sequence[Offer], rule: Rule, held: Mapping[str, int]) -> _Turns:
    """Return the queue over classes, within them over styles, within these over prompts."""
    classes: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    for i, offer in enumerate(offers):
        classes[offer.prompt.label][offer.prompt.domain].append(i)

    def weight(members: Iterable[int]) -> float:
        return float(sum(offers[i].prompt.count for i in members)) if rule == "by-count" else 1.0

    def prompts(members: list[int]) -> _Turns:
        # The most frequent first: a budget that does not reach all of them leaves out the rarest.
        order = sorted(members, key=lambda i: (-offers[i].prompt.count, offers[i].prompt.text))
        return _Turns([(i, weight([i]), 0) for i in order])

    groups: list[tuple[int | _Turns, float, int]] = []
    for label in sorted(classes):
        styles = [(prompts(m), weight(m), 0) for _, m in sorted(classes[label].items())]
        everyone = [i for members in classes[label].values() for i in members]
        groups.append((_Turns(styles), weight(everyone), held.get(label, 0) if rule == "by-deficit" else 0))
    return _Turns(groups)
