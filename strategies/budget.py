"""From what many clients said to how many images of which prompt: merge, de-duplicate, balance, cap.

An allotment is an order rather than a division: image after image is given to the prompt whose turn it is, and the
budget says where to stop. So a larger budget keeps the images of a smaller one whatever the rule, and when the prompts
of a client have had their share the others simply move up.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import median

import numpy as np

from fgl_flower.errors import RunError
from fgl_flower.extension_points import BUDGET_RULE
from fgl_flower.levels.offers import Offer
from fgl_flower.wire.payload import Prompt, PromptPayload
from strategies.turns import Turns

OUT_OF_PROPORTION = 10  # a client's histogram counts at most this many times the median client's
MOST_CHARGED = 10_000_000  # images that are charged to clients one by one, where a cap binds; some microseconds each


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
    offers: Sequence[Offer], budget: int, rule: str, *, held: Mapping[str, int] | None = None, client_cap: int = 0
) -> list[tuple[Prompt, int]]:
    """Spend an image budget.

    Parameters
    ----------
    offers : sequence of Offer
    budget : int
        Images in all.
    rule : str
        A built-in name of the key `budget-rule`, or ``module:object``: a function (offers, held) -> Turns, whose items
        are positions in `offers`.
    held : mapping of str to int, optional
        Real images of each class.
    client_cap : int
        Images that one client's prompts may cause; an image is charged to whichever of the prompt's senders has caused
        the fewest. 0: no cap.

    Returns
    -------
    list of (Prompt, int)
        In the order of the prompts; those that get no image are left out. Takes time by prompts, not by images, unless
        the cap stops a client.

    Raises
    ------
    RunError
        If the cap stops a client only after more than `MOST_CHARGED` images.
    """
    if not offers or budget < 1:
        return []
    turns = BUDGET_RULE.load(rule)(offers, held or {})
    if not isinstance(turns, Turns):
        raise RunError(f"budget-rule = {rule!r} returned a {type(turns).__name__}, not strategies.turns.Turns")
    drawn = np.zeros(len(offers), dtype=np.int64)
    turns.counts(budget, drawn)
    if client_cap and _most_caused(offers, drawn) > client_cap:
        drawn = _capped(offers, turns, budget, client_cap)
    rows = [(offer.prompt, n) for offer, n in zip(offers, drawn.tolist(), strict=True) if n]
    return sorted(rows, key=lambda row: (row[0].label, row[0].domain, row[0].text))


def _most_caused(offers: Sequence[Offer], drawn: np.ndarray) -> int:
    """Return the most images that could be charged to one client."""
    caused: Counter[int] = Counter()
    for offer, n in zip(offers, drawn.tolist(), strict=True):
        caused.update(dict.fromkeys(offer.senders, n))
    return max(caused.values(), default=0)


def _capped(offers: Sequence[Offer], turns: Turns, budget: int, cap: int) -> np.ndarray:
    """Return the images of each offer where clients are charged, turn by turn, until they have caused `cap` images."""
    sent: dict[int, list[int]] = defaultdict(list)
    for i, offer in enumerate(offers):
        for client in offer.senders:
            sent[client].append(i)
    if not any(not offer.senders for offer in offers):
        budget = min(budget, cap * len(sent))
    if budget > MOST_CHARGED:
        raise RunError(
            f"max-client-images = {cap} would be counted image by image among {budget:,}: lower it or images-per-class "
            f"until at most {MOST_CHARGED:,} images are planned, or set max-client-images = 0"
        )
    charged: Counter[int] = Counter()
    drawn = np.zeros(len(offers), dtype=np.int64)
    ahead = 1024
    while budget and len(turns):
        order = turns.order(min(budget, ahead)).tolist()
        ahead = min(2 * ahead, 2**16)
        spent: list[int] = []
        for done, turn in enumerate(order, start=1):
            senders = offers[turn].senders
            if not senders:
                continue
            payer = min(senders, key=charged.__getitem__)
            charged[payer] += 1
            if charged[payer] == cap:  # whatever only such clients sent is out of the order from here on
                spent = [i for i in sent[payer] if all(charged[client] == cap for client in offers[i].senders)]
                if spent:
                    ahead = max(1024, done)
                    break
        times = np.bincount(order[:done], minlength=len(offers))
        turns.advance(times)
        drawn += times
        budget -= done
        if spent:
            gone = np.zeros(len(offers), dtype=bool)
            gone[spent] = True
            turns.drop(gone)
    return drawn


def uniform(offers: Sequence[Offer], held: Mapping[str, int]) -> Turns:
    """Return the turns of ``uniform``: evenly over the classes, within one over its domains, then over its prompts."""
    return _turns(offers, lambda members: 1.0, {})


def by_count(offers: Sequence[Offer], held: Mapping[str, int]) -> Turns:
    """Return the turns of ``by-count``: in proportion to the private images behind each prompt (Sainte-Lague)."""
    return _turns(offers, lambda members: float(sum(offers[i].prompt.count for i in members)), {})


def by_deficit(offers: Sequence[Offer], held: Mapping[str, int]) -> Turns:
    """Return the turns of ``by-deficit``: to the class with the fewest images, real and synthetic together."""
    return _turns(offers, lambda members: 1.0, held)


def _turns(offers: Sequence[Offer], weight: Callable[[Iterable[int]], float], taken: Mapping[str, int]) -> Turns:
    """Return the turns of classes, within them of domains, within these of prompts.

    `weight` is that of some offers by position; `taken` the turns that a class has had beforehand.
    """
    classes: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    for i, offer in enumerate(offers):
        classes[offer.prompt.label][offer.prompt.domain].append(i)

    def prompts(members: list[int]) -> Turns:
        # The most frequent first: a budget that does not reach all of them leaves out the rarest.
        order = sorted(members, key=lambda i: (-offers[i].prompt.count, offers[i].prompt.text))
        return Turns(order, [weight([i]) for i in order])

    groups, weights = [], []
    for label in sorted(classes):
        domains = sorted(classes[label].items())
        groups.append(Turns([prompts(m) for _, m in domains], [weight(m) for _, m in domains]))
        weights.append(weight(i for members in classes[label].values() for i in members))
    return Turns(groups, weights, [taken.get(label, 0) for label in sorted(classes)])
