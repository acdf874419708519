"""The scrubber: what points to a person goes, what describes the picture stays."""

import pytest

from clients.scrubber import scrub


@pytest.mark.parametrize(
    ("caption", "left"),
    [
        ("a card with ada.lovelace@example.org on it", "a card with on it"),
        ("write to ada (at) example.org", "write to"),
        ("a sign that says www.example.com/shop?id=3", "a sign that says"),
        ("see https://example.org/~ada now", "see now"),
        ("a poster of example.com in red", "a poster of in red"),
        ("call +44 (0)20 7946 0958 today", "call today"),
        ("a card 4929-1234-5678-9012", "a card"),
        ("order 1234567 on a box", "order on a box"),
        ("a plate AB1234CD on a car", "a plate on a car"),
        ("follow @ada_l for more", "follow for more"),
        ("a portrait of Dr. Ada Lovelace in red", "a portrait of someone in red"),
        ("a photo of Ada Lovelace, smiling", "a photo of someone, smiling"),
        ("a letter, Ludwig van Beethoven", "a letter, someone"),
    ],
)
def test_what_points_to_a_person_goes(caption: str, left: str) -> None:
    assert scrub(caption) == left


@pytest.mark.parametrize(
    "caption",
    [
        "a sketch of a medium grey moon tilted right on a white background",
        "three dogs and 12 cats in 1 basket",
        "a photo of a cat; it sleeps.",
        "A large red star",
        "",
    ],
)
def test_what_describes_the_picture_stays(caption: str) -> None:
    assert scrub(caption) == caption


def test_names_of_the_federation_stay() -> None:
    caption = "a photo of a French Horn"
    assert scrub(caption, ("French Horn",)) == caption
    assert scrub(caption) == "a photo of a someone"
