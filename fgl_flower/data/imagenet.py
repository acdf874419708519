"""The paper's subsets of ImageNet-1k, found in class folders named by WordNet id."""

from pathlib import Path

from fgl_flower.data.listing import Strays, images_in, split_folders, visible_folders
from fgl_flower.data.paths import Files
from fgl_flower.errors import DataError

__all__ = ["SUBSETS", "subset"]

_ALL = 1000

_NETTE = {
    0: "tench", 217: "English springer", 482: "cassette player", 491: "chain saw", 497: "church",
    566: "French horn", 569: "garbage truck", 571: "gas pump", 574: "golf ball", 701: "parachute",
}  # fmt: skip
_FRUIT = {
    953: "pineapple", 954: "banana", 949: "strawberry", 950: "orange", 951: "lemon",
    957: "pomegranate", 952: "fig", 945: "bell pepper", 943: "cucumber", 948: "green apple",
}  # fmt: skip
_YELLOW = {
    309: "bee", 986: "lady's slipper", 954: "banana", 951: "lemon", 987: "corn",
    779: "school bus", 599: "honeycomb", 291: "lion", 72: "garden spider", 11: "goldfinch",
}  # fmt: skip
_SQUAWK = {
    84: "peacock", 130: "flamingo", 88: "macaw", 144: "pelican", 145: "king penguin",
    22: "bald eagle", 96: "toucan", 9: "ostrich", 100: "black swan", 89: "cockatoo",
}  # fmt: skip
_HUNDRED = {
    117: "chambered nautilus", 70: "harvestman", 88: "macaw", 133: "bittern", 5: "electric ray",
    97: "drake", 42: "agama", 60: "night snake", 14: "indigo bunting", 3: "tiger shark",
    130: "flamingo", 57: "garter snake", 26: "common newt", 0: "tench", 89: "cockatoo",
    127: "white stork", 36: "terrapin", 67: "diamondback rattlesnake", 110: "flatworm", 65: "sea snake",
    123: "spiny lobster", 55: "green snake", 22: "bald eagle", 21: "kite bird", 1: "goldfish",
    71: "scorpion", 99: "goose", 16: "bulbul", 19: "chickadee", 108: "sea anemone",
    18: "magpie", 35: "mud turtle", 124: "crayfish", 90: "lorikeet", 74: "garden cross spider",
    129: "spoonbill", 125: "hermit crab", 2: "great white shark", 64: "green mamba", 92: "bee eater",
    138: "bustard", 48: "Komodo dragon", 54: "hognose snake", 39: "iguana", 56: "king snake",
    96: "toucan", 84: "peacock", 73: "barn spider", 77: "wolf spider", 52: "thunder snake",
    20: "water ouzel", 118: "Dungeness crab", 111: "nematode", 59: "vine snake", 106: "wombat",
    75: "black widow", 143: "oystercatcher", 80: "black grouse", 140: "dunlin", 11: "goldfinch",
    113: "snail", 4: "hammerhead shark", 28: "spotted salamander", 50: "American alligator", 38: "banded gecko",
    104: "wallaby", 24: "great grey owl", 107: "jellyfish", 100: "black swan", 81: "ptarmigan",
    94: "hummingbird", 41: "whiptail lizard", 8: "hen", 68: "sidewinder", 66: "horned viper",
    146: "albatross", 29: "axolotl", 32: "tailed frog", 137: "American coot", 33: "loggerhead turtle",
    141: "redshank", 134: "crane bird", 78: "tick", 150: "sea lion", 76: "tarantula",
    61: "boa constrictor", 112: "conch", 83: "prairie chicken", 144: "pelican", 91: "coucal",
    135: "limpkin", 116: "chiton", 72: "garden spider", 34: "leatherback turtle", 6: "stingray",
    119: "rock crab", 46: "green lizard", 115: "sea slug", 93: "hornbill", 7: "rooster",
}  # fmt: skip

SUBSETS: dict[str, dict[int, str]] = {  # subset: ImageNet-1k class id -> name used in prompts, in the paper's order
    "nette": _NETTE,
    "fruit": _FRUIT,
    "yellow": _YELLOW,
    "squawk": _SQUAWK,
    "100": _HUNDRED,
}


def subset(path: Path, name: str) -> tuple[tuple[str, ...], dict[str, Files], tuple[str, ...]]:
    """Return the class names of a subset, the images of each split, and what was left out, in sentences.

    The class folders of a split are either all thousand of ImageNet-1k or just the subset's. No table of WordNet ids is
    needed: class ids number the sorted WordNet ids, so the sorted folders are the subset's sorted class ids.

    Parameters
    ----------
    path : pathlib.Path
        Folder with `train` and `val` (the latter serves as test split; validation is taken from train).
    name : {"nette", "fruit", "yellow", "squawk", "100"}
        Subset.

    Raises
    ------
    DataError
        If the subset is unknown or the folders are neither all of ImageNet's nor the subset's.
    """
    if name not in SUBSETS:
        raise DataError(f"dataset = 'imagenet-{name}' is unknown: the subsets are {', '.join(SUBSETS)}")
    classes = SUBSETS[name]
    splits = split_folders(path)
    if "train" not in splits:
        raise DataError(f"ImageNet needs a folder train in {path}, with one folder a class")
    entries, strays = {}, Strays()
    for split, folder in splits.items():
        names = [f.name for f in visible_folders(folder)]
        if len(names) not in {_ALL, len(classes)}:
            raise DataError(
                f"{folder} holds {len(names)} class folders: expected {len(classes)} (imagenet-{name}) or {_ALL} (all)"
            )
        ids = range(_ALL) if len(names) == _ALL else sorted(classes)
        by_id = dict(zip(ids, names, strict=True))
        entries[split] = Files.of_classes([images_in(folder / by_id[c], strays, folder) for c in classes])
    return tuple(classes.values()), {split: items for split, items in entries.items() if items}, strays.notes()
