"""Merging and allotting: equal budgets, balance, caps, and a larger budget that keeps the images of a smaller."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fgl_flower.levels.offers import Offer, merge
from fgl_flower.wire.payload import Prompt, PromptPayload
from strategies.budget import allot, held_images

RULES: list[str] = ["uniform", "by-count", "by-deficit"]


def drawn(offers: list[Offer], budget: int, rule: str = "uniform", **options: object) -> dict[str, int]:
    return {p.text: n for p, n in allot(offers, budget, rule, **options)}  # type: ignore[arg-type]


def offer(text: str, label: str, domain: str = "", count: int = 1, *senders: int) -> Offer:
    return Offer(Prompt(text, label, domain, count), senders or (0,))


def test_equal_prompts_of_several_clients_are_one() -> None:
    star, ring = Prompt("a star", "star", count=5), Prompt("a circle", "circle", count=2)
    greedy = Prompt("a star", "star", count=1_000_000)
    merged = merge([PromptPayload(0, (star, ring)), PromptPayload(1, (greedy, greedy))], clip=10)
    # 5 of client 0 and at most 10 of client 1, who cannot get round the clip by repeating itself.
    assert merged == (
        Offer(Prompt("a circle", "circle", count=2), (0,)),
        Offer(Prompt("a star", "star", count=15), (0, 1)),
    )


def test_prompts_that_say_the_same_become_their_most_frequent_wording() -> None:
    flood = tuple(Prompt(f"A  STAR, no. {i}!", "star", count=1) for i in range(1000))
    told = (*flood, Prompt("a star no.", "star", count=3), Prompt("a star no.", "circle"))
    assert merge([PromptPayload(0, told)], clip=50) == (
        Offer(Prompt("a star no.", "circle"), (0,)),  # another class says another thing
        Offer(Prompt("a star no.", "star", count=50), (0,)),
    )
    other = merge([PromptPayload(0, (Prompt("a red star", "star"), Prompt("a star, red", "star")))], clip=5)
    assert len(other) == 2  # the order of words counts


def test_uniform_is_even_over_classes_then_styles_then_prompts() -> None:
    offers = [
        offer("one", "circle", "photo"),
        offer("two", "star", "photo", 9),
        offer("three", "star", "sketch", 3),
        offer("four", "star", "sketch", 1),
    ]
    # 16: eight a class; star four a style; sketch two a prompt.
    assert drawn(offers, 16) == {"one": 8, "two": 4, "three": 2, "four": 2}
    # 5: circle three (first by name), star two, one a style, and of sketch's prompts the more frequent.
    assert drawn(offers, 5) == {"one": 3, "two": 1, "three": 1}


def test_by_count_follows_the_private_images() -> None:
    offers = [offer("one", "circle", "", 60), offer("two", "star", "a", 30), offer("three", "star", "b", 10)]
    assert drawn(offers, 10, "by-count") == {"one": 6, "two": 3, "three": 1}


def test_by_deficit_fills_up_what_is_rare() -> None:
    offers = [offer("one", "circle"), offer("two", "star"), offer("three", "ring")]
    # Held 10, 4, 0; of 8 images ring gets 4 to draw level with star, then the two share: 6 and 6, circle none.
    held = {"circle": 10, "star": 4}
    assert drawn(offers, 8, "by-deficit", held=held) == {"two": 2, "three": 6}
    assert drawn(offers, 16, "by-deficit", held=held) == {"two": 6, "three": 10}


offers_strategy = st.lists(
    st.builds(
        offer,
        st.sampled_from("uvwxyz"),
        st.sampled_from(["star", "ring", "moon"]),
        st.sampled_from(["", "photo", "sketch"]),
        st.integers(1, 50),
        st.integers(0, 2),
    ),
    min_size=1,
    max_size=12,
    unique_by=lambda o: (o.prompt.text, o.prompt.label, o.prompt.domain),
)


@given(offers_strategy, st.integers(0, 40), st.integers(0, 40), st.sampled_from(RULES), st.integers(0, 20))
def test_larger_budget_keeps_what_a_smaller_drew(offers: list[Offer], one: int, more: int, rule: str, cap: int) -> None:
    small, large = (Counter(dict(allot(offers, b, rule, held={"star": 7}, client_cap=cap))) for b in (one, one + more))
    assert small <= large
    if cap == 0:
        assert small.total() == one
        assert large.total() == one + more
    else:
        charged: Counter[int] = Counter()
        for o in offers:
            charged[o.senders[0]] += large[o.prompt]
        assert max(charged.values()) <= cap
        assert large.total() == min(one + more, cap * len(charged))


@given(offers_strategy, st.integers(0, 60))
def test_uniform_never_differs_by_more_than_one_between_classes(offers: list[Offer], budget: int) -> None:
    images = Counter({o.prompt.label: 0 for o in offers})
    for prompt, count in allot(offers, budget, "uniform"):
        images[prompt.label] += count
    assert max(images.values()) - min(images.values()) <= 1


def test_a_capped_client_leaves_its_budget_to_the_others() -> None:
    offers = [offer(f"junk {c * (i + 1)}", "star", "", 99, 6) for i, c in enumerate("abcdefgh")]
    offers += [offer("a star", "star", "", 5, 1), offer("a shared star", "star", "", 5, 2, 6)]
    images = drawn(offers, 20, client_cap=8)
    assert sum(n for text, n in images.items() if text.startswith("junk")) == 8
    assert images["a star"] == images["a shared star"] == 6  # client 2 pays for the latter, who has caused fewer
    assert sum(drawn(offers, 99, client_cap=8).values()) == 3 * 8


def test_a_histogram_out_of_all_proportion_is_scaled_down() -> None:
    honest = [PromptPayload(i, (), {"star": 10, "ring": 30}) for i in range(4)]
    liar = PromptPayload(4, (), {"star": 10**9, "moon": 10**9})
    held = held_images([*honest, liar], clip=100_000)
    # The median client holds 40, so the liar counts as 400: half star, half moon.
    assert held == {"star": 240, "ring": 120, "moon": 200}
    assert held_images([], clip=5) == {}
    assert held_images([PromptPayload(0)], clip=5) == {}


@pytest.mark.parametrize("rule", RULES)
def test_no_offers_no_images(rule: str) -> None:
    assert allot([], 10, rule) == []
