"""What the benchmarks draw: a plan over the built-in world's classes and styles."""

from typing import Any


def world_plan(settings: Any, images: int, seed: int) -> Any:
    """Return a plan of the built-in world's class-and-style prompts with `images` images in all."""
    from fgl_flower.data.world import CLASSES, STYLES
    from fgl_flower.synthesis.plan import plan_of

    counts = []
    for i, label in enumerate(sorted(CLASSES)):
        budget = images // len(CLASSES) + (i < images % len(CLASSES))
        for j, style in enumerate(sorted(STYLES)):
            share = budget // len(STYLES) + (j < budget % len(STYLES))
            counts.append((f"a {style} of a {label}", label, style, share))
    return plan_of(counts, settings, seed)
