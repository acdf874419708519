"""What every captioner keeps to."""

from collections.abc import Sequence

import numpy as np
from PIL import Image

from fgl_flower.data.decoding import open_image
from fgl_flower.foundation.captioner import captioner_revision, load_captioner
from fgl_flower.foundation.own import Describes

MODES = ("RGB", "L", "1", "P", "RGBA", "LA", "CMYK", "YCbCr", "I;16", "F")
SIZES = ((1, 1), (1, 40), (33, 7), (300, 200))


class CaptionerSuite:
    """Derive from it and set `captioner`.

    Attributes
    ----------
    captioner : str
        Value of the key `captioner`: ``module:object``, a folder or a hub id.
    """

    captioner: str

    def build(self) -> Describes:
        return load_captioner(self.captioner, device="cpu")

    def test_each_image_has_a_caption_and_none_has_none(self) -> None:
        captioner = self.build()
        for count in (0, 1, 5):
            captions = captioner.describe(images()[:count])
            assert [type(caption) for caption in captions] == [str] * count

    def test_captions_depend_on_nothing_but_the_image(self) -> None:
        captioner, shown = self.build(), images()
        together = list(captioner.describe(shown))
        assert list(captioner.describe(shown)) == together
        assert [caption for one in shown for caption in captioner.describe([one])] == together
        assert list(captioner.describe(shown[::-1])) == together[::-1]
        assert list(self.build().describe(shown[:3])) == together[:3]

    def test_every_mode_and_size_is_captioned(self) -> None:
        captioner = self.build()
        colours = images()[0]
        modes = [colours.convert("L").convert(mode) if mode == "I;16" else colours.convert(mode) for mode in MODES]
        sizes = [colours.resize(size) for size in SIZES]
        opened = [open_image(one) for one in (*modes, *sizes)]  # as clients do
        assert len(captioner.describe(opened)) == len(MODES) + len(SIZES)

    def test_the_images_stay_as_they_are(self) -> None:
        shown = images()
        self.build().describe(shown)
        assert all(np.array_equal(a, b) for a, b in zip(shown, images(), strict=True))

    def test_its_revision_is_known_without_a_caption(self) -> None:
        assert captioner_revision(self.captioner)
        assert captioner_revision(self.captioner) == captioner_revision(self.captioner)


def images() -> Sequence[Image.Image]:
    """Return five different RGB pictures of 32x32 pixels."""
    rng = np.random.default_rng(0)
    return [Image.fromarray(rng.integers(0, 50 * (i + 1), (32, 32, 3), dtype=np.uint8)) for i in range(5)]
