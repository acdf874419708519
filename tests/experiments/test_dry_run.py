"""`fgl run --dry-run`: what it tells is what the run then does, and nothing is downloaded, written or asked for it."""

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from experiments.planning.forecast import Forecast, forecast
from experiments.planning.needs import look
from experiments.planning.operations import drawing_flops
from experiments.planning.rates import measured
from experiments.planning.traffic import messages
from experiments.planning.work import learner_of, steps
from experiments.runner import run
from fgl_flower.config import LearnerConfig, RunConfig
from fgl_flower.data.partition import partition
from fgl_flower.data.sources import load_source
from fgl_flower.foundation.generator import Generator, inspect
from fgl_flower.foundation.parameters import pipeline_parameters
from fgl_flower.learning.building import build_model
from fgl_flower.learning.training import _batches
from fgl_flower.records.result import Result
from fgl_flower.synthesis.settings import settings_for
from tests.commands import fgl

TINY = {
    "private_images": 60,
    "validation_images": 60,
    "test_images": 60,
    "clients": 3,
    "partition": "iid",
    "local_epochs": 1,
    "server_epochs": 2,
    "images_per_class": 4,
    "batch_size": 16,
    "device": "cpu",
}


def told(config: RunConfig) -> Forecast:
    found = look(config, "run.toml")
    assert not [item.fault for item in found if item.fault]
    return forecast(config, found)


def value(forecast: Forecast, part: str, name: str) -> float:
    result = forecast.get(part, name).value
    assert result is not None
    return result


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory, tiny_checkpoint: Path) -> tuple[RunConfig, Forecast, Result]:
    """One-shot FGL and two rounds after it: the configuration, what was told of it, and its result."""
    folder = tmp_path_factory.mktemp("drawn")
    config = RunConfig(**TINY, rounds=2, fine_tune_epochs=1, generator=str(tiny_checkpoint), runs_dir=str(folder))
    return config, told(config), run(config)


def test_images_are_those_of_the_run(drawn: tuple[RunConfig, Forecast, Result]) -> None:
    config, before, result = drawn
    assert value(before, "images", "training set") == result.synthetic_images == 40
    assert value(before, "images", "still to be drawn") == 40
    after = told(config)
    assert value(after, "images", "still to be drawn") == 0
    assert value(after, "disk", "new images in the store") == 0
    more = told(config.model_copy(update={"images_per_class": 6}))
    assert value(more, "images", "still to be drawn") == 20  # a larger budget keeps the images of a smaller one


def test_bytes_are_those_of_the_run(drawn: tuple[RunConfig, Forecast, Result]) -> None:
    _, before, result = drawn
    up = value(before, "bytes", "weights up a client") + value(before, "bytes", "prompts up a client")
    assert up == pytest.approx(result.bytes_up_per_client, rel=0.02)
    assert value(before, "bytes", "weights down a client") == pytest.approx(result.bytes_down_per_client, rel=0.02)
    total = value(before, "bytes", "weights, all clients, both ways")
    assert total == pytest.approx(result.bytes_total, rel=0.02)


def test_steps_are_those_by_hand(drawn: tuple[RunConfig, Forecast, Result]) -> None:
    _, before, _ = drawn
    # 40 images in batches of 16 are 3 steps; 2 epochs and one more after each of 2 rounds.
    assert value(before, "training", "server's steps") == 3 * (2 + 2)
    # 60 images over 3 clients are 20 each, 2 steps; 2 rounds.
    assert value(before, "training", "clients' steps") == 3 * 2 * 2


def test_a_run_before_tells_how_fast_this_machine_is(drawn: tuple[RunConfig, Forecast, Result]) -> None:
    config, before, result = drawn
    assert "measured now" in before.get("time", "drawing").basis
    rates = measured(config)
    assert rates.drawing is not None
    assert rates.server is not None
    assert rates.server[0] == pytest.approx(40 * 2 / result.seconds["server-training"])
    more = told(config.model_copy(update={"images_per_class": 6}))
    drawing = more.get("time", "drawing")
    assert f"in the run {rates.drawing[1]}, on this machine" in drawing.basis
    assert drawing.value == pytest.approx(20 / rates.drawing[0])
    assert measured(config.model_copy(update={"steps": 7})).drawing is None, "another setting has another rate"


def test_federated_averaging_is_told_as_it_is(tmp_path: Path) -> None:
    config = RunConfig(**TINY | {"clients": 5}, method="fedavg", rounds=3, fraction=0.5, runs_dir=str(tmp_path))
    before, result = told(config), run(config)
    assert messages(config)[:2] == (3 * 2 / 5, 3 * 2 / 5 + 1)  # half of five are two; all five get the final model
    assert value(before, "bytes", "weights up a client") == pytest.approx(result.bytes_up_per_client, rel=0.02)
    assert value(before, "bytes", "weights down a client") == pytest.approx(result.bytes_down_per_client, rel=0.02)
    shares = [len(share) for share in partition(load_source(config).private, config).index]
    assert shares == [12] * 5
    assert value(before, "training", "clients' steps") == 3 * 2 * 1


@given(images=st.integers(1, 400), batch_size=st.integers(1, 64))
def test_steps_are_the_batches_of_training(images: int, batch_size: int) -> None:
    assert steps(images, batch_size) == len(_batches(images, batch_size, torch.Generator()))


@pytest.mark.parametrize("norm", ["group", "batch"])
def test_the_classifier_is_sized_without_being_made(norm: str) -> None:
    sized = learner_of(RunConfig(norm=norm).part(LearnerConfig), 7, 32)
    model = build_model("small-resnet", 7, norm, seed=0).eval()
    assert sized.weights == sum(4 * t.numel() for t in model.state_dict().values() if t.is_floating_point())
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.zeros(1, 3, 32, 32))
    assert sized.flops == counter.get_total_flops()


def test_the_generator_is_sized_without_its_weights(tiny_checkpoint: Path) -> None:
    card = inspect(str(tiny_checkpoint))
    loaded = Generator.load(str(tiny_checkpoint), device="cpu", precision="float32").pipeline
    parameters = pipeline_parameters(card.folders)
    assert parameters.keys() == {"unet", "vae", "text_encoder"}
    for name in ("unet", "vae"):
        assert parameters[name] == sum(weight.numel() for weight in getattr(loaded, name).parameters())
    settings = settings_for(RunConfig(generator=str(tiny_checkpoint), device="cpu"))
    # torch's counter does not know the CPU's own attention: the plain one does the same products.
    with FlopCounterMode(display=False) as counter, torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
        for _ in range(2 * 3):  # three guided steps
            loaded.unet(torch.zeros(1, 4, 8, 8), torch.zeros(1), torch.zeros(1, 77, 32))
        loaded.vae.decode(torch.zeros(1, 4, 8, 8))
    assert drawing_flops(card, settings, parameters)[0] == counter.get_total_flops()


def test_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run.toml").write_text(
        "private-images = 61\nvalidation-images = 60\ntest-images = 60\nclients = 4\n", encoding="utf-8"
    )
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    assert fgl(monkeypatch, "run", "run.toml", "--dry-run") == 0
    assert "the run could start" in capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == ["run.toml"]


def test_what_is_missing_is_named_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run.toml").write_text(
        'dataset = "imagenet-nette:data"\ngenerator = "someone/gone"\ncaptioner = "someone/mute"\n'
        'prompt-level = "instance"\nrounds = 10\nimages-per-class = 50\n',
        encoding="utf-8",
    )
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.chdir(tmp_path)
    assert fgl(monkeypatch, "run", "run.toml", "--dry-run") == 1
    captured = capsys.readouterr()
    assert captured.err == ""
    lines = [line for line in captured.out.splitlines() if line.startswith("missing, ")]
    assert [line.split(":")[0] for line in lines] == ["missing, data", "missing, generator", "missing, captioner"]
    assert "there is no folder data; put the images there, or name another place: --set dataset=" in lines[0]
    assert lines[1].endswith("the generator 'someone/gone' is not cached on this machine; fgl fetch run.toml")
    known = next(line for line in captured.out.splitlines() if "weights up a client" in line)
    each = learner_of(RunConfig().part(LearnerConfig), 10, 32)  # ten classes, by the name of the data set
    assert f"10 x {each.weights + each.envelope:,} bytes" in known
    assert next(line for line in captured.out.splitlines() if "training set" in line).split()[3:6] == [
        "at",
        "most",
        "500",
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["run.toml"]


def test_what_a_run_would_refuse_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run.toml").write_text('clients = 90\nprivate-images = 60\nprompt-level = "names"', encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert fgl(monkeypatch, "run", "run.toml", "--dry-run") == 1
    assert "clients = 90 is more than the 60 private images" in capsys.readouterr().out


def test_captions_are_not_guessed(tmp_path: Path) -> None:
    before = told(RunConfig(**TINY, prompt_level="instance", runs_dir=str(tmp_path)))
    prompts = before.get("bytes", "prompts up a client")
    assert prompts.value is None
    assert "fgl preview" in prompts.basis
    assert before.get("images", "training set").text() == "at most 40"
    assert value(before, "bytes", "models down a client, once") > 1e6  # the miniature captioner's files


def test_a_dry_run_resumes_nothing(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert fgl(monkeypatch, "run", "--resume", "runs/none", "--dry-run") == 2
    assert "--dry-run looks at a FILE" in capsys.readouterr().err
