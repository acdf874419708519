"""Clients that are trained at the same time in one process get the weights that they get alone."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import nn

from fgl_flower.learning.building import build_model
from fgl_flower.learning.classifier import Classifier
from fgl_flower.learning.images import Images
from fgl_flower.learning.randomness import draws_randomly, own_randomness
from fgl_flower.learning.threads import torch_threads
from fgl_flower.learning.training import train


def images(seed: int, size: int = 32, count: int = 40) -> Images:
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(256, (count, 3, size, size), dtype=torch.uint8, generator=generator)
    return Images(pixels, torch.randint(4, (count,), generator=generator), torch.zeros(count, dtype=torch.int64))


def plain() -> Classifier:
    return build_model("small-resnet", 4, seed=0)


def with_dropout() -> Classifier:
    with own_randomness(0):
        return Classifier(nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 16), nn.Dropout(0.5)), 16, 4)


@pytest.mark.parametrize(("build", "size"), [(plain, 32), (plain, 72), (with_dropout, 32)])
def test_training_side_by_side_gives_the_weights_of_training_alone(build, size: int) -> None:  # type: ignore[no-untyped-def]
    def weights(client: int) -> list[torch.Tensor]:
        model = build()
        with torch_threads(1):
            train(model, images(client, size), epochs=2, batch_size=8, lr=0.05, seed=client, device="cpu")
        return [parameter.detach().clone() for parameter in model.parameters()]

    alone = [weights(client) for client in range(6)]
    for _ in range(2):
        with ThreadPoolExecutor(3) as pool:
            together = list(pool.map(weights, range(6)))
        for one, other in zip(alone, together, strict=True):
            assert all(map(torch.equal, one, other))
    assert not torch.equal(alone[0][0], alone[1][0])


def test_dropout_is_noticed_and_leaves_model_and_random_state() -> None:
    batch, state = torch.zeros(2, 3, 32, 32), torch.get_rng_state()
    model = build_model("small-resnet", 4, "batch", seed=0)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    assert not draws_randomly(model, batch)
    assert draws_randomly(with_dropout(), batch)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert torch.equal(state, torch.get_rng_state())


def test_threads_of_a_client_are_given_back() -> None:
    before = torch.get_num_threads()
    with torch_threads(before + 1):
        assert torch.get_num_threads() == before + 1
        with ThreadPoolExecutor(1) as pool, torch_threads(3):
            assert pool.submit(torch.get_num_threads).result() == 3
    assert torch.get_num_threads() == before
