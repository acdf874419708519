"""Allotting is as the queue says that it is defined by: image after image to the prompt whose turn it is."""

import heapq
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fgl_flower.errors import RunError
from fgl_flower.levels.offers import Offer
from fgl_flower.wire.payload import Prompt
from strategies import budget as aggregation
from strategies.budget import allot

RULES: list[str] = ["uniform", "by-count", "by-deficit"]


def queued(
    offers: Sequence[Offer], budget: int, rule: str, *, held: Mapping[str, int] | None = None, client_cap: int = 0
) -> list[tuple[Prompt, int]]:
    """Return the allotment image by image, as `allot` defines it."""
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


def _turns(offers: Sequence[Offer], rule: str, held: Mapping[str, int]) -> _Turns:
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


many_offers = st.lists(
    st.builds(
        lambda text, label, domain, count, senders: Offer(Prompt(text, label, domain, count), tuple(sorted(senders))),
        st.sampled_from("uvwxyz"),
        st.sampled_from(["star", "ring", "moon"]),
        st.sampled_from(["", "photo", "sketch"]),
        st.sampled_from([1, 2, 3]) | st.integers(1, 100_000),
        st.sets(st.integers(0, 4), max_size=4),
    ),
    max_size=16,
    unique_by=lambda o: (o.prompt.text, o.prompt.label, o.prompt.domain),
)


@settings(max_examples=300, deadline=None)
@given(
    many_offers,
    st.integers(0, 60) | st.integers(0, 2000),
    st.sampled_from(RULES),
    st.dictionaries(st.sampled_from(["star", "ring", "moon"]), st.integers(0, 500)),
    st.just(0) | st.integers(1, 40) | st.integers(1, 600),
)
def test_every_allotment_is_the_queues(
    offers: list[Offer], budget: int, rule: str, held: dict[str, int], cap: int
) -> None:
    expected = queued(offers, budget, rule, held=held, client_cap=cap)
    assert allot(offers, budget, rule, held=held, client_cap=cap) == expected


@pytest.mark.parametrize("rule", RULES)
def test_a_budget_of_any_size_takes_no_longer_than_its_prompts(rule: str) -> None:
    offers = [Offer(Prompt(f"p{i}", f"c{i % 100}", f"d{i % 6}", i + 1), (i % 10,)) for i in range(2000)]
    began = time.perf_counter()
    rows = allot(offers, 10**11, rule, held={"c0": 10**5, "c1": 7})
    assert time.perf_counter() - began < 5
    assert sum(n for _, n in rows) == 10**11
    few = allot(offers, 10**11 - 10**6, rule, held={"c0": 10**5, "c1": 7})
    assert Counter(dict(few)) <= Counter(dict(rows))
    if rule == "by-count":  # each prompt within one image a level of its proportion
        total = sum(offer.prompt.count for offer in offers)
        assert all(abs(n - 10**11 * p.count / total) <= 3 for p, n in rows)


def test_a_cap_that_stops_nobody_costs_nothing_and_an_absurd_one_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    offers = [Offer(Prompt("a", "star"), (0, 1)), Offer(Prompt("b", "ring"), (1,))]
    assert allot(offers, 10**9, "uniform", client_cap=10**9) == allot(offers, 10**9, "uniform")
    monkeypatch.setattr(aggregation, "MOST_CHARGED", 100)
    assert sum(n for _, n in allot(offers, 200, "uniform", client_cap=50)) == 100
    with pytest.raises(RunError, match="max-client-images = 51 would be counted"):
        allot(offers, 200, "uniform", client_cap=51)
