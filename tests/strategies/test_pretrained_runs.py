"""Runs that fine-tune a pretrained classifier: what travels, what stays, and what is left at the end."""

from pathlib import Path
from typing import Any

import pytest
import torch
from flwr.app import ArrayRecord, ConfigRecord, RecordDict
from safetensors.torch import load_file

from clients.data import Client
from clients.evaluation import evaluate as evaluate_on_client
from clients.training import train
from experiments.runner import run_folder
from fgl_flower.config import RunConfig
from fgl_flower.data.sources import load_source
from fgl_flower.errors import ConfigError, ModelError
from fgl_flower.files import read_json
from fgl_flower.learning.building import build_model, learner, model_revision
from fgl_flower.learning.evaluation import evaluate
from fgl_flower.learning.images import decode
from fgl_flower.preflight import preflight
from fgl_flower.records.reading import read_result
from fgl_flower.wire.arrays import to_arrays
from fgl_flower.wire.limits import FIXED_WEIGHTS
from tests import whole_runs
from tests.tiny_classifiers import save_classifier

pytestmark = pytest.mark.usefixtures("one_thread")


def config_of(tmp_path: Path, vit: Path, method: str = "fedavg", **changes: Any) -> RunConfig:
    return whole_runs.small(tmp_path, method, changes.pop("generator", "miniature-fast"), model=f"hub:{vit}", **changes)


def weights(config: RunConfig) -> int:
    return sum(len(array.data) for array in to_arrays(learner(config, 10)).values())


@pytest.mark.parametrize("how", ["all", "head", "lora"])
def test_no_more_travels_than_is_trained_and_the_final_model_stands_alone(
    how: str, tmp_path: Path, tiny_vit: Path
) -> None:
    config = config_of(tmp_path, tiny_vit, train=how, local_lr=0.05)
    path = whole_runs.served(config)
    result = read_result(path)
    assert result.models == [{"role": "model", "id": str(tiny_vit), "revision": model_revision(config.model)}]
    # Two rounds up; two rounds and the final model down; the rest is what messages are wrapped in.
    up, down = 2 * weights(config), 3 * weights(config)
    arrays = len(to_arrays(learner(config, 10)))
    assert up < result.bytes_up_per_client < up + 2 * (400 * arrays + 1000)
    assert down < result.bytes_down_per_client < down + 3 * (400 * arrays + 1000)

    alone = build_model(config.model, 10, seed=99)
    fresh = {name: value.clone() for name, value in alone.state_dict().items()}
    final = load_file(path / "model.safetensors")
    assert alone.load_state_dict(final).missing_keys == []
    if how == "head":
        assert {n for n in final if not torch.equal(final[n], fresh[n])} == {"head.weight", "head.bias"}
    test = decode(load_source(config).test, config.image_size)
    found = evaluate(alone, test, num_classes=10, num_domains=6, device="cpu")
    assert found.accuracy == pytest.approx(result.accuracy, abs=1.5 / len(test))  # merged adapters round otherwise


def test_the_servers_own_training_obeys_the_same_key(tmp_path: Path, tiny_vit: Path, tiny_checkpoint: Path) -> None:
    config = config_of(
        tmp_path, tiny_vit, "fgl", generator=str(tiny_checkpoint), train="head", rounds=1, fine_tune_epochs=1
    )
    path = whole_runs.served(config)
    final = load_file(path / "model.safetensors")
    start = learner(config, 10).state_dict()
    assert {n for n in final if not torch.equal(final[n], start[n])} == {"head.weight", "head.bias"}
    assert [model["role"] for model in read_result(path).models] == ["generator", "model"]
    # The model trained on the same images is taken for the same weights alone.
    kept = list(tmp_path.glob("store-models/*.safetensors"))
    other = save_classifier(tmp_path / "other", seed=7)
    whole_runs.served(config_of(tmp_path, other, "fgl", generator=str(tiny_checkpoint), train="head", name="other"))
    assert len(list(tmp_path.glob("store-models/*.safetensors"))) == len(kept) + 1


def test_a_linear_probe_on_frozen_features(tmp_path: Path, tiny_vit: Path) -> None:
    config = config_of(tmp_path, tiny_vit, "centralised", train="head")
    final = load_file(whole_runs.served(config) / "model.safetensors")
    start = learner(config, 10).state_dict()
    assert {n for n in final if not torch.equal(final[n], start[n])} == {"head.weight", "head.bias"}


def test_processes_give_the_same_bits_as_one(tmp_path: Path, tiny_vit: Path) -> None:
    final = []
    for workers in (1, 2):
        config = config_of(tmp_path / str(workers), tiny_vit, train="lora", client_workers=workers)
        final.append(load_file(run_folder(config) / "model.safetensors"))
    assert all(torch.equal(value, final[1][name]) for name, value in final[0].items())


@pytest.mark.parametrize("method", ["fedprox", "moon", "fedadam"])
def test_other_strategies_train_adapters_too(method: str, tmp_path: Path, tiny_vit: Path) -> None:
    config = config_of(tmp_path, tiny_vit, method, train="lora", batch_size=20)
    result = read_result(whole_runs.served(config))
    assert result.failures == []
    assert result.quarantined == {}


def test_a_client_with_another_checkpoint_refuses_to_work(tmp_path: Path, tiny_vit: Path) -> None:
    config = config_of(tmp_path, tiny_vit, train="head")
    client = Client(0, config)
    arrays = to_arrays(learner(config, 10))

    def message(revision: str) -> RecordDict:
        settings = ConfigRecord({"server-round": 1, FIXED_WEIGHTS: revision})
        return RecordDict({"arrays": ArrayRecord(dict(arrays)), "config": settings})

    assert train(client, message(model_revision(config.model)), RecordDict())["metrics"]["num-examples"] > 0
    for handle in (lambda content: train(client, content, RecordDict()), lambda c: evaluate_on_client(client, c)):
        with pytest.raises(ModelError, match="on this node and sha256:other on the server: name one by"):
            handle(message("sha256:other"))


def test_what_cannot_work_is_refused_before_the_run(tmp_path: Path, tiny_vit: Path) -> None:
    preflight(config_of(tmp_path, tiny_vit, image_size=48))
    with pytest.raises(ModelError, match="there is no such folder"):
        preflight(config_of(tmp_path, tmp_path / "nowhere"))
    resnet = save_classifier(tmp_path / "resnet", "resnet")
    with pytest.raises(ConfigError, match="batch normalisation, which cannot go with fedadam"):
        preflight(config_of(tmp_path, resnet, "fedadam"))
    preflight(config_of(tmp_path, resnet, "fedadam", train="head"))
    preflight(config_of(tmp_path, resnet))
    levit = save_classifier(tmp_path / "levit", "levit")
    with pytest.raises(ModelError, match="set image-size = 64"):
        preflight(config_of(tmp_path, levit))


def test_a_run_is_finished_until_the_checkpoint_changes(tmp_path: Path) -> None:
    from fgl_flower.records.finished import FinishedRuns, _learner

    vit = save_classifier(tmp_path / "vit")
    config = config_of(tmp_path, vit, "centralised", train="head")
    path = whole_runs.served(config)
    assert read_json(path / "result.json")["models"][0]["role"] == "model"
    assert FinishedRuns(tmp_path).get(config) is not None
    save_classifier(vit, seed=3)
    _learner.cache_clear()  # another command
    assert FinishedRuns(tmp_path).get(config) is None
    assert "its model has changed since" in FinishedRuns(tmp_path).note(config)
