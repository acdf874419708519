"""Classifiers by hub id or folder: the same as transformers' own, and trained no further than they should be."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from fgl_flower.errors import ConfigError, ModelError
from fgl_flower.learning import hub_model
from fgl_flower.learning.adaptation import whole_state
from fgl_flower.learning.building import build_model, model_revision
from fgl_flower.learning.classifier import Classifier
from fgl_flower.learning.evaluation import predict
from fgl_flower.learning.hub_model import check_size, zero_shot_head
from fgl_flower.learning.randomness import draws_randomly
from fgl_flower.learning.training import train
from fgl_flower.wire.arrays import load_arrays, to_arrays
from tests.halves import SETTINGS, halves
from tests.tiny_classifiers import SIZE, processor_of, save_classifier, save_dual_encoder

pytestmark = pytest.mark.usefixtures("one_thread")

KINDS = ["vit", "deit", "beit", "dinov2", "swin", "convnext", "resnet", "levit", "siglip", "clip"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("classifiers")
    return {kind: save_classifier(root / kind, kind) for kind in KINDS}


def built(folder: Path, classes: int = 2, **options: Any) -> Classifier:
    return build_model(f"hub:{folder}", classes, **{"seed": 0, **options})


def snapshot(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


def differing(model: nn.Module, before: dict[str, torch.Tensor]) -> set[str]:
    return {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}


@pytest.mark.parametrize("kind", KINDS)
def test_logits_are_transformers_own(kind: str, folders: dict[str, Path]) -> None:
    from transformers import AutoImageProcessor, AutoModelForImageClassification

    size = 64 if kind == "levit" else SIZE
    pixels = np.random.default_rng(0).integers(0, 256, (3, size, size, 3), dtype=np.uint8)
    theirs = AutoModelForImageClassification.from_pretrained(folders[kind]).eval()
    if kind == "levit":  # its head is more than a linear layer: without it there are features
        theirs.classifier = nn.Linear(16, 3)
    processor = AutoImageProcessor.from_pretrained(folders[kind])
    inputs = processor(list(pixels), return_tensors="pt", do_resize=False)
    with torch.no_grad():
        expected = theirs(**inputs).logits

    model = built(folders[kind], 3)
    head = theirs.classifier[-1] if isinstance(theirs.classifier, nn.Sequential) else theirs.classifier
    model.head.load_state_dict(head.state_dict())
    found = predict(model, torch.from_numpy(pixels).permute(0, 3, 1, 2), device="cpu")
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
    assert found.std() > 0


def test_the_head_depends_on_the_seed_alone_and_the_backbone_on_the_checkpoint(folders: dict[str, Path]) -> None:
    before = torch.random.get_rng_state()
    first, same, other = (built(folders["vit"], seed=seed) for seed in (0, 0, 1))
    built(folders["convnext"])  # the checkpoint is read anew after it
    again = built(folders["vit"])
    assert not differing(same, snapshot(first))
    assert not differing(again, snapshot(first))
    assert differing(other, snapshot(first)) == {"head.weight", "head.bias"}
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.parametrize(
    ("kind", "how"), [("vit", "head"), ("convnext", "head"), ("resnet", "head"), ("vit", "lora"), ("convnext", "lora")]
)
def test_what_is_fixed_neither_changes_nor_travels(kind: str, how: str, folders: dict[str, Path]) -> None:
    model = built(folders[kind], train=how)
    before = snapshot(model)
    sent = to_arrays(model)
    assert set(sent) == {n for n in before if n.startswith("head.") or "lora_" in n}
    train(model, halves(16, SIZE), epochs=2, validation=halves(8, SIZE), **SETTINGS)
    changed = differing(model, before)
    assert changed <= set(sent)
    assert changed >= {name for name in sent if "lora_A" not in name}  # whose gradient begins at 0, as lora_B does

    other = built(folders[kind], train=how, seed=5)
    load_arrays(other, to_arrays(model))
    pixels = halves(4, SIZE).pixels
    assert torch.equal(predict(other, pixels, device="cpu"), predict(model, pixels, device="cpu"))
    with pytest.raises(ValueError, match="not this model's"):
        load_arrays(built(folders[kind]), sent)


def test_all_weights_travel_where_all_are_trained(folders: dict[str, Path]) -> None:
    for kind in ("vit", "resnet"):
        model = built(folders[kind])
        before = snapshot(model)
        floating = {name for name, value in before.items() if value.is_floating_point()}
        assert set(to_arrays(model)) == floating
        train(model, halves(16, SIZE), epochs=1, **SETTINGS)
        assert differing(model, before) & floating > {"head.weight", "head.bias"}
    assert any("running_var" in name for name in differing(model, before))


def test_lora_begins_as_the_checkpoint_and_its_size_is_the_ranks(folders: dict[str, Path]) -> None:
    pixels = halves(4, SIZE).pixels
    plain, adapted = built(folders["vit"]), built(folders["vit"], train="lora", lora_rank=2)
    torch.testing.assert_close(predict(adapted, pixels, device="cpu"), predict(plain, pixels, device="cpu"))
    numbers = sum(array.numpy().size for array in to_arrays(adapted).values())
    # 2 layers of 4 projections 16 -> 16 and a perceptron 16 -> 32 -> 16, each with factors of rank 2; the head 16 -> 2.
    assert numbers == 2 * 2 * (4 * (16 + 16) + 2 * (16 + 32)) + 16 * 2 + 2


def test_distilled_models_with_two_heads_serve(tmp_path: Path) -> None:
    import transformers as t

    small = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    t.DeiTForImageClassificationWithTeacher(t.DeiTConfig(image_size=SIZE, **small)).save_pretrained(tmp_path)
    processor_of(tmp_path, [0.5] * 3, [0.5] * 3)
    assert built(tmp_path)(torch.zeros(1, 3, SIZE, SIZE)).shape == (1, 2)


@pytest.mark.parametrize("how", ["all", "head", "lora"])
def test_the_whole_state_is_a_model_by_itself(how: str, folders: dict[str, Path]) -> None:
    model = built(folders["vit"], train=how)
    train(model, halves(16, SIZE), epochs=1, **SETTINGS)
    kept = snapshot(model)
    alone = built(folders["vit"], seed=9)
    assert alone.load_state_dict(whole_state(model)).missing_keys == []
    pixels = halves(6, SIZE).pixels
    torch.testing.assert_close(predict(alone, pixels, device="cpu"), predict(model, pixels, device="cpu"))
    assert not differing(model, kept)


def test_copies_share_what_is_fixed_and_a_process_reads_a_checkpoint_once(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    reads = []
    load = hub_model._load
    monkeypatch.setattr(hub_model, "_load", lambda *arguments: reads.append(1) or load(*arguments))
    one, two = (built(folders["swin"], train="lora") for _ in range(2))
    assert len(reads) == 1
    assert one.fixed
    for (name, mine), theirs in zip(one.state_dict().items(), two.state_dict().values(), strict=True):
        assert (mine.data_ptr() == theirs.data_ptr()) == (name in one.fixed), name


def test_a_folder_whose_files_change_is_read_again(tmp_path: Path) -> None:
    folder = save_classifier(tmp_path / "m", seed=1)
    before, revision = snapshot(built(folder)), model_revision(f"hub:{folder}")
    assert revision.startswith("sha256:")
    save_classifier(folder, seed=2)
    assert model_revision(f"hub:{folder}") != revision
    assert differing(built(folder), before)


def test_position_embeddings_are_interpolated_or_the_right_size_is_named(folders: dict[str, Path]) -> None:
    for kind in ("vit", "dinov2", "convnext", "resnet"):
        assert built(folders[kind])(torch.zeros(1, 3, 48, 48)).shape == (1, 2)
        check_size(built(folders[kind]), 48)
    with pytest.raises(ModelError, match=r"image-size = 48 .*set image-size = 64"):
        check_size(built(folders["levit"]), 48)


def test_dropout_is_drawn_from_the_seed_and_not_while_the_backbone_rests(tmp_path: Path) -> None:
    folder = save_classifier(tmp_path / "m", hidden_dropout_prob=0.5)
    batch = torch.zeros(2, 3, SIZE, SIZE)
    assert not draws_randomly(built(folder, train="head"), batch)
    assert draws_randomly(built(folder), batch)
    results = [built(folder) for _ in range(2)]
    for model in results:
        train(model, halves(16, SIZE), epochs=1, **SETTINGS)
    assert not differing(results[1], snapshot(results[0]))


def test_what_is_no_classifier_is_refused_with_a_sentence(
    tmp_path: Path, folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    import transformers as t

    def refused(folder: Path | str) -> str:
        with pytest.raises(ModelError) as caught:
            build_model(f"hub:{folder}", 2, seed=0)
        return str(caught.value)

    small = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    bert = tmp_path / "bert"
    t.BertModel(t.BertConfig(vocab_size=8, **small)).save_pretrained(bert)
    assert "preprocessor_config.json" in refused(bert)
    processor_of(bert, [0.5] * 3, [0.5] * 3)
    assert "is no image classifier" in refused(bert)

    bare = tmp_path / "bare"
    t.ViTModel(t.ViTConfig(image_size=SIZE, patch_size=8, **small)).save_pretrained(bare)
    processor_of(bare, [0.5] * 3, [0.5] * 3)
    assert built(bare)(torch.zeros(1, 3, SIZE, SIZE)).shape == (1, 2)  # a backbone without a head serves

    (bare / "model.safetensors").rename(tmp_path / "elsewhere")
    assert "no weights in safetensors" in refused(bare)
    (bare / "model.safetensors").write_bytes(b"\0" * 100)
    assert "cannot be loaded" in refused(bare)
    from safetensors.torch import load_file, save_file

    weights = load_file(tmp_path / "elsewhere")
    lost = sorted(name for name in weights if "encoder" in name or "layer" in name)[0]
    save_file({k: v for k, v in weights.items() if k != lost}, bare / "model.safetensors", {"format": "pt"})
    assert "lacks weights" in refused(bare)

    empty = tmp_path / "empty"
    empty.mkdir()
    assert "no config.json" in refused(empty)
    (empty / "adapter_config.json").write_text("{}")
    assert "holds an adapter" in refused(empty)
    assert "there is no such folder" in refused(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match="none but its head"):
        built(folders["resnet"], train="lora")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert "no model 'nobody/nothing'" in refused("nobody/nothing")
    assert "neither a folder on this machine nor of the form of a hub id" in refused("a/b/c")


def test_a_classifier_of_ones_own_obeys_the_same_key() -> None:
    name = "experiments.examples.own_classifier:plain_network"
    head = build_model(name, 2, "batch", seed=0, train="head")
    before = snapshot(head)
    assert set(to_arrays(head)) == {"head.weight", "head.bias"}
    train(head, halves(16), epochs=1, **SETTINGS)
    assert differing(head, before) == {"head.weight", "head.bias"}  # the running statistics rest, too
    with pytest.raises(ConfigError, match="none but its head"):
        build_model(name, 2, seed=0, train="lora")


@pytest.mark.parametrize("kind", ["clip", "siglip"])
def test_the_zero_shot_heads_logits_are_transformers_own(kind: str, tmp_path: Path) -> None:
    from transformers import AutoImageProcessor, AutoModel, AutoTokenizer

    folder = save_dual_encoder(tmp_path / kind, kind, ["a", "photo", "star", "circle", "heart"])
    texts = ["a photo star", "circle", "a heart"]
    pixels = np.random.default_rng(0).integers(0, 256, (4, SIZE, SIZE, 3), dtype=np.uint8)
    images = AutoImageProcessor.from_pretrained(folder)(list(pixels), return_tensors="pt", do_resize=False)
    words = AutoTokenizer.from_pretrained(folder)(texts, padding="max_length", max_length=8, return_tensors="pt")
    with torch.no_grad():
        expected = AutoModel.from_pretrained(folder)(
            pixel_values=images["pixel_values"],
            input_ids=words["input_ids"],
            attention_mask=words["attention_mask"],
        ).logits_per_image
    assert expected.std(dim=1).min() > 0

    model = built(folder, 3)
    weights, bias = zero_shot_head(str(folder), "", texts)
    model.head.load_state_dict({"weight": weights, "bias": bias})
    found = predict(model, torch.from_numpy(pixels).permute(0, 3, 1, 2), device="cpu")
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    assert not any("text" in name or "logit" in name for name in model.state_dict())
    assert built(folder, train="lora")(torch.zeros(1, 3, 48, 48)).shape == (1, 2)


def test_a_checkpoint_without_a_text_encoder_has_no_zero_shot_head(folders: dict[str, Path]) -> None:
    with pytest.raises(ModelError, match="needs a model of images and texts, CLIP or SigLIP"):
        zero_shot_head(str(folders["vit"]), "", ["a star"])


def test_the_configuration_refuses_what_cannot_be() -> None:
    from fgl_flower.config import RunConfig

    for wrong in ("hub", "hub:", "vgg", "resnet-18:x"):
        with pytest.raises(ConfigError, match=r"model = .*hub:ID"):
            RunConfig.parse({"model": wrong})
    with pytest.raises(ConfigError, match="begins at random"):
        RunConfig.parse({"train": "head"})
    assert RunConfig.parse({"model": "hub:a/b", "train": "lora"}).lora_rank == 8
