"""What every data set and every partition keeps to."""

from collections.abc import Iterator
from typing import Any, ClassVar

import datasets
import numpy as np
import pytest

from fgl_flower.config import RunConfig
from fgl_flower.data import sources
from fgl_flower.data.decoding import open_image
from fgl_flower.data.partition import Partition, partition
from fgl_flower.data.sources import Source, load_source
from fgl_flower.wire.unicode_checks import name_fault


class DatasetSuite:
    """Derive from it and set `dataset`.

    Attributes
    ----------
    dataset : str
        Value of the key `dataset`: a built-in data set with its place, or ``module:object``.
    changes : dict
        Further keys of the configuration, as `RunConfig` takes them.
    same_test : bool
        Whether the data set has no validation split besides its test split, as ImageNet's subsets have not.
    """

    dataset: str
    changes: ClassVar[dict[str, Any]] = {}

    @pytest.fixture
    def source(self) -> Source:
        return self.load()

    def load(self) -> Source:
        """Return the data, loaded anew."""
        sources._load.cache_clear()
        keys = {"private_images": 60, "validation_images": 60, "test_images": 60, **self.changes}
        return load_source(RunConfig(dataset=self.dataset, **keys))

    def test_every_split_has_images_in_the_four_columns(self, source: Source) -> None:
        for split in splits(source):
            assert split.column_names == ["image", "label", "domain", "caption"]
            assert len(split)
            assert isinstance(split.features["image"], datasets.Image)
            assert tuple(split.features["label"].names) == source.classes
            assert tuple(split.features["domain"].names) == source.domains
            assert set(split["label"]) <= set(range(len(source.classes)))
            assert set(split["domain"]) <= set(range(-1, len(source.domains)))
            first = split[0]
            assert open_image(first["image"]).mode == "RGB"
            assert isinstance(first["caption"], str)

    def test_names_can_be_spoken_of(self, source: Source) -> None:
        assert len(source.classes) >= 2
        assert source.domains
        for names in (source.classes, source.domains):
            assert len(set(names)) == len(names)
            assert [name_fault(name) for name in names] == [""] * len(names)

    def test_no_image_is_in_two_splits(self, source: Source) -> None:
        seen: set[object] = set()
        for split in splits(source):
            raw = split.cast_column("image", datasets.Image(decode=False))["image"]
            own = {record["path"] if record["bytes"] is None else record["bytes"] for record in raw}
            assert not own & seen
            seen |= own

    def test_loaded_again_it_is_the_same(self, source: Source) -> None:
        again = self.load()
        assert again is not source
        assert (again.classes, again.domains, again.notes) == (source.classes, source.domains, source.notes)
        for one, other in zip(splits(source), splits(again), strict=True):
            assert one.remove_columns("image")[:] == other.remove_columns("image")[:]
            assert np.array_equal(open_image(one[0]["image"]), open_image(other[0]["image"]))

    def test_notes_are_sentences(self, source: Source) -> None:
        assert isinstance(source.notes, tuple)
        for note in source.notes:
            assert note.isprintable()
            assert " " in note.strip()


def splits(source: Source) -> Iterator[datasets.Dataset]:
    yield from (source.private, source.validation, source.test)


def private(count: int = 120, classes: int = 4, domains: int = 3) -> datasets.Dataset:
    """Return images without pixels, in order: label i mod classes, domain (i div classes) mod domains."""
    features = datasets.Features(
        label=datasets.ClassLabel(num_classes=classes),
        domain=datasets.ClassLabel(num_classes=domains),
        caption=datasets.Value("string"),
    )
    columns = {
        "label": [i % classes for i in range(count)],
        "domain": [i // classes % domains for i in range(count)],
        "caption": [str(i) for i in range(count)],
    }
    return datasets.Dataset.from_dict(columns, features=features)


class PartitionSuite:
    """Derive from it and set `partition`.

    Attributes
    ----------
    partition : str
        Value of the key `partition`: a built-in name or ``module:object``.
    """

    partition: str

    def divide(self, clients: int, seed: int = 0) -> Partition:
        return partition(private(), RunConfig(partition=self.partition, clients=clients, seed=seed))

    @pytest.mark.parametrize("clients", [3, 6, 13])
    def test_no_image_has_two_owners(self, clients: int) -> None:
        shares = self.divide(clients)
        assert len(shares) == len(shares.index) == clients
        given = np.concatenate(shares.index)
        assert len(np.unique(given)) == len(given) > 0
        assert given.min() >= 0
        assert given.max() < 120
        assert [len(shares.load(i)) for i in range(clients)] == [len(share) for share in shares.index]

    @pytest.mark.parametrize("clients", [3, 6, 13])
    def test_counts_are_those_of_the_shares(self, clients: int) -> None:
        shares = self.divide(clients)
        assert shares.counts().shape == (clients, 4)
        assert shares.counts().sum(axis=1).tolist() == [len(share) for share in shares.index]
        for number in range(clients):
            assert shares.counts()[number].tolist() == np.bincount(shares.load(number)["label"], minlength=4).tolist()

    def test_the_seed_decides_and_nothing_else(self) -> None:
        first, again, other = (self.divide(6, seed) for seed in (1, 1, 2))
        assert all(np.array_equal(a, b) for a, b in zip(first.index, again.index, strict=True))
        assert not all(np.array_equal(a, b) for a, b in zip(first.index, other.index, strict=True))
