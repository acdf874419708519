"""Partitions divide: every image goes to exactly one client, in any process alike, whatever the skew."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fgl_flower.config import RunConfig
from fgl_flower.data.partition import partition
from fgl_flower.errors import ConfigError
from tests.conformance.data import private

PRIVATE = private()


@settings(max_examples=12, deadline=None)
@given(
    kind=st.sampled_from(["iid", "dirichlet", "domain"]),
    clients=st.integers(3, 60),
    beta=st.sampled_from([1e-4, 0.01, 0.5, 100.0]),
    seed=st.integers(0, 2**31 - 1),
)
def test_every_image_belongs_to_exactly_one_client(kind: str, clients: int, beta: float, seed: int) -> None:
    config = RunConfig(partition=kind, clients=clients, beta=beta, seed=seed)
    shares = partition(PRIVATE, config)
    captions = [c for i in range(clients) for c in shares.load(i)["caption"]]
    assert sorted(captions, key=int) == PRIVATE["caption"][:]
    assert shares.counts().shape == (clients, 4)
    assert shares.counts().sum(axis=0).tolist() == [30, 30, 30, 30]


def test_the_seed_decides() -> None:
    first, again, other = (partition(PRIVATE, RunConfig(seed=seed)) for seed in (1, 1, 2))
    assert all(np.array_equal(a, b) for a, b in zip(first.index, again.index, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(first.index, other.index, strict=True))


def test_iid_shares_are_equal_and_mixed() -> None:
    counts = partition(PRIVATE, RunConfig(partition="iid", clients=5)).counts()
    assert counts.sum(axis=1).tolist() == [24] * 5  # 120 / 5
    assert (counts > 0).all()


def test_dirichlet_keeps_ten_images_a_client_where_it_can() -> None:
    counts = partition(PRIVATE, RunConfig(beta=0.5, clients=5)).counts()
    assert counts.sum(axis=1).min() >= 10


def test_smaller_beta_is_more_skewed() -> None:
    def largest_share(beta: float) -> float:
        counts = np.concatenate([partition(PRIVATE, RunConfig(beta=beta, seed=s)).counts() for s in range(5)])
        return float(counts.max(axis=1).sum() / counts.sum())

    assert largest_share(100.0) < largest_share(0.5) < largest_share(0.01)


def test_tiny_beta_with_hundreds_of_clients_leaves_some_empty_and_raises_nothing() -> None:
    shares = partition(private(2400, 10, 6), RunConfig(beta=0.01, clients=300))
    sizes = shares.counts().sum(axis=1)
    assert sizes.sum() == 2400
    assert (sizes == 0).any()
    assert len(shares.load(int(sizes.argmin()))) == 0


def test_one_style_a_client() -> None:
    shares = partition(PRIVATE, RunConfig(partition="domain", clients=7))
    for client in range(7):
        assert set(shares.load(client)["domain"]) == {client % 3}
    # 40 images a style; styles 0, 1, 2 have clients (0, 3, 6), (1, 4), (2, 5).
    assert shares.counts().sum(axis=1).tolist() == [14, 20, 20, 13, 20, 20, 13]


@pytest.mark.parametrize(
    ("changes", "says"),
    [({"partition": "domain", "clients": 2}, "at least 3"), ({"clients": 121}, "fewer clients")],
)
def test_what_cannot_be_divided_is_refused(changes: dict[str, object], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        partition(PRIVATE, RunConfig(**changes))


@pytest.mark.parametrize("number", [-1, 5])
def test_there_is_no_such_client(number: int) -> None:
    with pytest.raises(ConfigError, match="0 to N-1"):
        partition(PRIVATE, RunConfig(clients=5)).load(number)
