"""Copies: what is planted is found first, chance is chance, and the owner's page stays out of the run's folder."""

import io
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from scipy.stats import beta
from typer.testing import CliRunner

from experiments.audit.copies import compare, examine
from experiments.audit.distances import Distances, same_mix
from experiments.audit.looks import Looks
from experiments.audit.neighbours import nearest, unit
from experiments.audit.perceptual import Thumbnails, nearest_by_ssim, ssim_distance
from experiments.cli.app import app
from experiments.cli.audit_copies import _page_folder
from fgl_flower.config import RunConfig
from fgl_flower.data.sources import load_source
from fgl_flower.errors import ConfigError
from fgl_flower.foundation.image_encoder import ImageEncoder
from fgl_flower.records.reading import read_run
from tests.made_runs import made_run
from tests.pages import Page
from tests.tiny_captioners import save_blip2, save_llava
from tests.tiny_classifiers import save_classifier, save_dual_encoder
from tests.whole_runs import served, small


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, tiny_checkpoint: Path) -> Path:
    """A finished run that drew 60 images of noise; 120 private images."""
    return served(small(tmp_path_factory.mktemp("runs"), "fgl", str(tiny_checkpoint)))


def drawn(run: Path) -> tuple[Path, list[dict[str, object]]]:
    [shard] = (run.parent / "store" / "shards").glob("*.parquet")
    return shard, pq.read_table(shard).to_pylist()


def plant(run: Path, at: int) -> np.ndarray:
    """Put a private image with slight noise in the place of a drawn one; return the private image."""
    shard, rows = drawn(run)
    image = np.asarray(load_source(read_run(run).config).private[7]["image"].convert("RGB"))
    noisy = (image + np.random.default_rng(0).normal(0, 3, image.shape)).clip(0, 255).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noisy).save(buffer, format="PNG")
    rows[at]["image"]["bytes"] = buffer.getvalue()  # type: ignore[index]
    pq.write_table(pa.Table.from_pylist(rows, schema=pq.read_schema(shard)), shard)
    return image


def test_a_planted_copy_is_found_first(finished: Path) -> None:
    _, before = drawn(finished)
    image = plant(finished, 11)
    found = examine(read_run(finished))
    first = int(found.suspects[0])
    assert found.prompts[first] == before[11]["prompt"]
    assert len(found.suspects) == len(found.prompts) == len(before)
    for distances, private in zip(found.distances, found.nearest_private, strict=True):
        assert (found.images["private"].small[private[first]] == image).all()
        assert distances.private[first] < 0.2 * distances.held_out[first]
        assert distances.ratios[first] == distances.ratios.min()


def test_the_command_tells_the_run_shares_and_the_owner_pictures(finished: Path, tmp_path: Path) -> None:
    printed = CliRunner().invoke(app, ["audit", "copies", str(finished), "--into", str(tmp_path / "owner")])
    assert printed.exit_code == 0, printed.output
    assert "nearer to a private" in printed.output
    told = json.loads((finished / "audit.json").read_text())["copies"]
    assert (told["synthetic"], told["private"]) == (60, 120)
    assert told["compared"] == told["held-out"] <= 120
    low, high = told["distances"]["embedding"]["interval"]
    assert 0 <= low <= told["distances"]["embedding"]["nearer"] <= high <= 1
    page = (tmp_path / "owner" / "audit-copies.html").read_text()
    assert page.count("data:image/png") == 24 * 5
    assert Page(page).open == []
    report = (finished / "report.html").read_text()
    assert "audit of copies" in report
    assert not {"audit-copies.html"} & {path.name for path in finished.rglob("*")}
    assert (tmp_path / "owner").stat().st_mode & 0o077 == 0


def test_a_page_is_never_written_into_a_run_s_folder(finished: Path) -> None:
    assert _page_folder(finished, None) == finished.parent / f"{finished.name}-owner-only"
    for into in (finished, finished / "owner", finished / "a" / "b"):
        with pytest.raises(ConfigError, match="lies in a run's folder"):
            _page_folder(finished, into)
    refused = CliRunner().invoke(app, ["audit", "copies", str(finished), "--into", str(finished / "owner")])
    assert refused.exit_code == 2
    assert not (finished / "owner").exists()


def test_what_cannot_be_compared_is_refused_with_what_to_do(finished: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="drew no images"):
        examine(read_run(made_run(tmp_path, "fedavg", rounds=1)))
    with pytest.raises(ConfigError, match=r"fgl run .*config.toml runs it again"):
        examine(read_run(made_run(tmp_path, "fgl")))  # as earlier versions left it
    keys = (finished / "synthetic.txt").read_text()
    (finished / "synthetic.txt").write_text(keys + "0" * 32 + "\n")
    try:
        with pytest.raises(ConfigError, match=r"1 of 61 images .* are no longer in the store"):
            examine(read_run(finished))
    finally:
        (finished / "synthetic.txt").write_text(keys)


def looks(rng: np.random.Generator, count: int) -> Looks:
    return Looks(rng.normal(size=(count, 8)).astype(np.float32), rng.integers(0, 255, (count, 16, 16, 3), np.uint8))


def test_images_drawn_of_nobody_s_data_are_at_chance_and_copies_are_not() -> None:
    rng = np.random.default_rng(0)
    private, held_out, labels = looks(rng, 200), looks(rng, 200), np.repeat(np.arange(4), 50)
    neutral = compare(looks(rng, 300), private, labels, held_out, labels, "none")
    for distances in neutral.distances:
        share = distances.nearer()
        assert share.chance_low <= share.value <= share.chance_high
        assert share.chance_low < 0.5 < share.chance_high
        assert share.low < 0.5 < share.high
    copied = compare(private, private, labels, held_out, labels, "none")
    assert all(distances.nearer().value == 1.0 for distances in copied.distances)
    assert all(share.value > share.chance_high for share in (d.nearer() for d in copied.distances))
    swapped = compare(held_out, private, labels, held_out, labels, "none")
    assert all(distances.nearer().value == 0.0 for distances in swapped.distances)


def test_the_share_has_clopper_and_pearson_s_interval_and_leaves_ties_out() -> None:
    private = np.array([1.0, 1.0, 1.0, 3.0, 2.0])
    held_out = np.array([2.0, 2.0, 2.0, 1.0, 2.0])
    at = np.arange(5)
    share = Distances("d", private, held_out, at, at, np.zeros(5, dtype=np.int64)).nearer()
    assert (share.value, share.count) == (0.75, 4)
    assert share.low == pytest.approx(beta.ppf(0.025, 3, 2))
    assert share.high == pytest.approx(beta.ppf(0.975, 4, 1))


def test_one_image_that_is_nearest_to_all_makes_chance_wide() -> None:
    """40 drawn images with one and the same nearest image: by chance the share is 0 or 1, nothing between."""
    far, near, at, other = np.full(40, 2.0), np.full(40, 1.0), np.zeros(40, dtype=np.int64), np.ones(40, dtype=np.int64)
    share = Distances("d", near, far, at, other, np.zeros(10, dtype=np.int64)).nearer()
    assert (share.value, share.chance_low, share.chance_high) == (1.0, 0.0, 1.0)
    assert share.low > 0.9  # which alone would look like copies


def test_as_many_are_compared_of_each_class() -> None:
    ours, theirs = same_mix([np.array([0, 0, 0, 1, 2]), np.array([1, 1, 0, 0, 3])])
    assert np.array([0, 0, 0, 1, 2])[ours].tolist() == [0, 0, 1]
    assert np.array([1, 1, 0, 0, 3])[theirs].tolist() == [0, 0, 1]
    assert len(set(ours.tolist())) == len(set(theirs.tolist())) == 3


def test_a_copy_of_an_image_that_is_not_compared_is_found_too() -> None:
    rng = np.random.default_rng(1)
    private, held_out = looks(rng, 30), looks(rng, 30)
    labels = np.repeat([0, 1], 15)
    only_one = held_out.select(np.arange(5))  # of class 0: most private images have nothing to be compared with
    found = compare(private.select(np.array([29])), private, labels, only_one, np.zeros(5, np.int64), "none")
    assert [at.tolist() for at in found.nearest_private] == [[29], [29]]
    assert len(found.images["compared"]) == 5


def test_the_nearest_are_those_of_a_whole_matrix_whatever_the_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    import experiments.audit.neighbours as module

    rng = np.random.default_rng(2)
    queries, references = (unit(rng.normal(size=(n, 5)).astype(np.float32)) for n in (23, 41))
    expected = np.argsort(-(queries @ references.T), axis=1, kind="stable")[:, :3]
    monkeypatch.setattr(module, "_ROWS", 7)
    monkeypatch.setattr(module, "_COLUMNS", 2)
    seen: list[tuple[int, int]] = []
    assert (nearest(queries, references, 3, lambda *at: seen.append(at)) == expected).all()
    assert seen[-1] == (23, 23)
    assert nearest(queries, references[:2], 3).shape == (23, 2)


def test_unit_vectors_have_length_one_less_the_centre() -> None:
    vectors = np.array([[3.0, 4.0], [1.0, 1.0]], np.float32)
    assert unit(vectors).tolist()[0] == pytest.approx([0.6, 0.8])
    assert unit(vectors, np.array([1.0, 1.0])).tolist()[1] == [0.0, 0.0]


def test_ssim_is_zero_for_equal_images_and_grows_with_noise() -> None:
    rng = np.random.default_rng(3)
    image = rng.integers(0, 255, (1, 32, 32, 3), np.uint8)
    distances = [
        float(ssim_distance(image, (image + rng.normal(0, s, image.shape)).clip(0, 255).astype(np.uint8))[0])
        for s in (0, 5, 20, 80)
    ]
    assert distances[0] == pytest.approx(0, abs=1e-6)
    assert distances == sorted(distances)
    others = Thumbnails(np.concatenate([rng.integers(0, 255, (20, 32, 32, 3), np.uint8), image]))
    distance, at = nearest_by_ssim(Thumbnails(image), others)
    assert (at.tolist(), distance[0]) == ([20], pytest.approx(0, abs=1e-6))


@pytest.mark.parametrize("kind", ["vit", "dinov2", "convnext", "clip"])
def test_encoders_of_the_hub_tell_images_apart(tmp_path: Path, kind: str) -> None:
    folder = (
        save_classifier(tmp_path / kind, kind) if kind != "clip" else save_dual_encoder(tmp_path / kind, kind, ["a"])
    )
    encoder = ImageEncoder.load(str(folder), "cpu")
    rng = np.random.default_rng(0)
    images = [Image.fromarray(rng.integers(0, 255, (40, 40, 3), np.uint8)) for _ in range(3)]
    features = encoder.embed([*images, images[0]])
    assert features.shape[0] == 4
    assert np.isfinite(features).all()
    assert np.allclose(features[0], features[3], atol=1e-5)
    assert not np.allclose(features[0], features[1], atol=1e-3)


@pytest.mark.parametrize("save", [save_blip2, save_llava])
def test_the_captioner_s_tower_is_the_encoder_where_none_is_named(tmp_path: Path, save) -> None:  # type: ignore[no-untyped-def]
    from experiments.audit.copies import encoder_of

    folder = save(tmp_path / "captioner")
    encoder = encoder_of(RunConfig(captioner=str(folder), device="cpu"))
    assert encoder.embed([Image.new("RGB", (32, 32), c) for c in ("red", "blue")]).shape[0] == 2
    assert str(folder) in encoder.name


def test_an_encoder_that_is_none_is_refused_in_a_sentence(tmp_path: Path) -> None:
    from fgl_flower.errors import ModelError

    with pytest.raises(ModelError, match="no encoder"):
        ImageEncoder.load(str(tmp_path / "nothing"), "cpu")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelError, match="cannot load the encoder"):
        ImageEncoder.load(str(tmp_path / "empty"), "cpu")
    with pytest.raises(ModelError, match="name an --encoder"):
        ImageEncoder.of_captioner(object(), "my:Captioner")
