"""Which images the report shows: a few of each class, in differing domains."""

import numpy as np

from fgl_flower.learning.images import Images

SAMPLES_PER_CLASS = 6


def some_of_each_class(
    images: Images, classes: tuple[str, ...], domains: tuple[str, ...]
) -> list[tuple[int, np.ndarray, str, str]]:
    """Return position, (S, S, 3) pixels, class and domain of a few images of each class, in differing domains."""
    chosen = []
    for label, name in enumerate(classes):
        members = (images.labels == label).nonzero().flatten().tolist()
        seen: dict[int, int] = {}
        for i in members:
            seen.setdefault(int(images.domains[i]), i)
        # Another domain for each class first, so that all of them are shown.
        order = sorted(seen, key=lambda domain: (domain - label) % max(1, len(domains)))
        picked = [seen[domain] for domain in order] + [i for i in members if i not in seen.values()]
        for i in picked[:SAMPLES_PER_CLASS]:
            domain = int(images.domains[i])
            pixels = images.pixels[i].permute(1, 2, 0).numpy()
            chosen.append((i, pixels, name, domains[domain] if domain >= 0 else ""))
    return chosen
