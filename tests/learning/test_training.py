"""The learner: what is decoded, built, trained and measured."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from fgl_flower.device import resolve_device
from fgl_flower.errors import ConfigError
from fgl_flower.learning import training
from fgl_flower.learning.augment import Augmenter
from fgl_flower.learning.building import build_model
from fgl_flower.learning.classifier import Classifier
from fgl_flower.learning.images import Images, normalise
from fgl_flower.learning.precision import Precision
from fgl_flower.learning.training import Epoch, TrainResult, train
from tests.halves import SETTINGS, halves


def state(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def test_training_learns_and_says_so() -> None:
    model = build_model("small-resnet", 2, seed=0)
    seen: list[Epoch] = []
    result = train(
        model,
        halves(64),
        epochs=12,
        schedule="cosine",
        validation=halves(30),
        progress=seen.append,
        **SETTINGS,
    )
    assert result.validation_accuracy == 1.0
    assert result.loss < 0.3 < math.log(2)
    assert [(one.epoch, one.epochs) for one in seen] == [(i + 1, 12) for i in range(12)]
    assert seen[-1].loss == result.loss < seen[0].loss
    assert max(one.validation_accuracy or 0 for one in seen) == result.validation_accuracy
    assert not model.training


@pytest.mark.parametrize("norm", ["group", "batch"])
def test_the_same_call_gives_the_same_weights_and_leaves_the_global_random_state(norm: str) -> None:
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    models = [build_model("small-resnet", 2, norm, seed=1) for _ in range(3)]
    for model, seed in zip(models, (3, 3, 4), strict=True):
        train(model, halves(20), epochs=2, **{**SETTINGS, "seed": seed})
    assert same(state(models[0]), state(models[1]))
    assert not same(state(models[0]), state(models[2]))
    assert torch.equal(before, torch.random.get_rng_state())


def test_nothing_to_learn_from_leaves_the_model_as_it_is() -> None:
    model = build_model("small-resnet", 2, seed=0)
    before = state(model)
    assert train(model, Images.empty(16), epochs=3, **SETTINGS) == TrainResult(0.0, None, 0)
    assert same(before, state(model))


@pytest.mark.parametrize("norm", ["group", "batch"])
@pytest.mark.parametrize("count", [1, 2, 17, 33])
def test_any_number_of_images_trains_and_stays_finite(count: int, norm: str) -> None:
    model = build_model("small-resnet", 2, norm, seed=0)
    result = train(model, halves(count), epochs=2, **SETTINGS)
    assert math.isfinite(result.loss)
    assert all(torch.isfinite(v).all() for v in model.state_dict().values())


def test_batch_norm_over_one_pixel_survives_a_single_image() -> None:
    model = build_model("resnet-18", 2, "batch", seed=0)  # 16 pixels are one by the last stage
    assert math.isfinite(train(model, halves(1), epochs=1, **SETTINGS).loss)


@settings(max_examples=60, deadline=None)
@given(count=st.integers(1, 200), size=st.integers(2, 64))
def test_an_epoch_shows_every_image_once_and_none_alone(count: int, size: int) -> None:
    batches = training._batches(count, size, torch.Generator().manual_seed(0))
    assert all(2 <= len(b) <= size + 1 for b in batches)
    assert sorted(torch.cat(batches).tolist()) == ([0, 0] if count == 1 else list(range(count)))


def test_one_step_is_sgd_worked_by_hand() -> None:
    # A head of zeros over fixed features f: softmax gives 1/2, the gradient of row c is (1/2 - [c = y]) f.
    # First step of SGD with momentum and decay on zero weights: w = -lr * gradient.
    class Constant(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.tensor([[1.0, 2.0]]).expand(len(x), 2)

    model = Classifier(Constant(), 2, 2)
    nn.init.zeros_(model.head.weight)
    nn.init.zeros_(model.head.bias)
    images = halves(4)
    only_zeros = images.subset([0, 2])
    result = train(model, only_zeros, epochs=1, weight_decay=0.1, **SETTINGS)
    expected = torch.tensor([[0.025, 0.05], [-0.025, -0.05]])  # 0.05 * 1/2 * (1, 2)
    torch.testing.assert_close(model.head.weight.detach(), expected)
    assert result.loss == pytest.approx(math.log(2))


def test_the_best_epoch_on_validation_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    validation = halves(4)  # labels 0 1 0 1
    answers = iter([[0, 0, 0, 0], [0, 1, 0, 1], [0, 1, 1, 1]])  # accuracies 1/2, 1, 3/4
    after: list[dict[str, torch.Tensor]] = []

    def predict(model: nn.Module, pixels: torch.Tensor, device: str) -> torch.Tensor:
        after.append(state(model))
        return nn.functional.one_hot(torch.tensor(next(answers)), 2).float()

    monkeypatch.setattr(training, "predict", predict)
    model = build_model("small-resnet", 2, seed=0)
    result = train(model, halves(20), epochs=3, validation=validation, **SETTINGS)
    assert result.validation_accuracy == 1.0
    assert same(state(model), after[1])


def test_loss_terms_see_the_features_and_bend_the_training() -> None:
    shapes = []

    def pull(model: Classifier, batch: torch.Tensor, features: torch.Tensor) -> torch.Tensor:
        shapes.append((tuple(batch.shape), len(features)))
        return 100 * model.head.weight.square().sum()

    free, bound = (build_model("small-resnet", 2, seed=0) for _ in range(2))
    train(free, halves(16), epochs=3, **{**SETTINGS, "lr": 0.001})
    train(bound, halves(16), epochs=3, loss_terms=pull, **{**SETTINGS, "lr": 0.001})
    assert bound.head.weight.norm() < 0.9 * free.head.weight.norm()
    assert shapes == [((16, 3, 16, 16), 16)] * 3


def test_cosine_rises_then_falls_to_zero() -> None:
    assert training._cosine(0.0) < 0.05
    assert training._cosine(0.05) == pytest.approx(1.0)
    assert training._cosine(0.525) == pytest.approx(0.5)  # half of what is left after the warm-up
    assert training._cosine(1.0) == pytest.approx(0.0)


def test_small_crops_are_windows_of_the_reflected_image() -> None:
    images = halves(3)
    drawn = Augmenter(images.pixels, seed=0)(torch.tensor([1, 1, 1, 1, 1, 1]))
    padded = np.pad(images.pixels[1].permute(1, 2, 0).numpy(), ((4, 4), (4, 4), (0, 0)), mode="reflect")
    windows = [
        normalise(torch.from_numpy(np.ascontiguousarray(w.transpose(2, 0, 1)))[None])[0].numpy()
        for row in range(9)
        for column in range(9)
        for cut in [padded[row : row + 16, column : column + 16]]
        for w in (cut, cut[:, ::-1])
    ]
    assert drawn.shape == (6, 3, 16, 16)
    assert all(any(np.allclose(batch.numpy(), w, atol=1e-5) for w in windows) for batch in drawn)


def test_large_images_get_random_resized_crops() -> None:
    torch.manual_seed(0)
    pixels = torch.zeros(2, 3, 96, 96, dtype=torch.uint8)
    assert Augmenter(pixels, seed=0)(torch.tensor([0, 1, 0])).shape == (3, 3, 96, 96)


def test_precision_can_change_between_calls_and_weights_stay_in_single_precision() -> None:
    models = [build_model("small-resnet", 2, seed=0) for _ in range(3)]
    for model, precision in zip(models, ("float32", "bfloat16", "float32"), strict=True):
        result = train(model, halves(32), epochs=2, precision=precision, **SETTINGS)
        assert math.isfinite(result.loss)
        assert {value.dtype for value in model.state_dict().values()} == {torch.float32}
    full, half, again = map(state, models)
    assert same(full, again)
    assert not same(full, half)


def test_what_this_machine_cannot_do_is_refused() -> None:
    with pytest.raises(ConfigError, match="float16"):
        Precision("float16", torch.device("cpu"))
    with pytest.raises(ConfigError, match="device = 'auto'"):
        resolve_device("cuda:99")
    with pytest.raises(ConfigError, match="use auto, cpu"):
        resolve_device("gpu")


@pytest.mark.parametrize("name", ["small-resnet", "resnet-18"])
@pytest.mark.parametrize("norm", ["group", "batch"])
def test_models_are_the_same_for_the_same_seed(name: str, norm: str) -> None:
    a, b, c = (build_model(name, 7, norm, seed=s) for s in (0, 0, 1))
    assert same(state(a), state(b))
    assert not same(state(a), state(c))
    assert a(torch.zeros(2, 3, 32, 32)).shape == (2, 7)
    kinds = {type(m) for m in a.modules()}
    assert (nn.BatchNorm2d in kinds, nn.GroupNorm in kinds) == (norm == "batch", norm == "group")


def test_the_papers_resnets_have_their_known_sizes() -> None:
    # torchvision's ResNet-18/34/50 hold 11,689,512 / 21,797,672 / 25,557,032 parameters with 1,000 classes.
    sizes = {"resnet-18": 11_689_512, "resnet-34": 21_797_672, "resnet-50": 25_557_032}
    for name, size in sizes.items():
        assert sum(p.numel() for p in build_model(name, 1000, "batch", seed=0).parameters()) == size


@pytest.mark.parametrize(("name", "norm"), [("vgg", "group"), ("small-resnet", "layer")])
def test_unknown_models_are_refused(name: str, norm: str) -> None:
    with pytest.raises(ConfigError, match="unknown"):
        build_model(name, 2, norm, seed=0)
