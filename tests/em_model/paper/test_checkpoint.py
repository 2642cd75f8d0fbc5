"""Import of the authors' files: what is accepted, what is refused, and what it answers."""

import bz2
import json
import pickle

import pytest
import torch

from em_model.errors import BadInput
from em_model.paper.checkpoint import PublishedPredictor, Scale, import_checkpoint
from em_model.paper.jarvis_graph import band_graph
from em_model.paper.published import AlignnConfig
from em_model.predictor import user_models
from em_model.registry import describe_models, open_model

from .conftest import recipe_model, rocksalt_band

SMALL = AlignnConfig(alignn_layers=1, gcn_layers=1, hidden=16, embedding=8, head=8)


@pytest.fixture(autouse=True)
def models(tmp_path, monkeypatch):
    monkeypatch.setenv("HOPSCREEN_MODELS", str(tmp_path / "models"))
    return tmp_path / "models"


def write_checkpoint(path, content=None):
    content = content or {"model": recipe_model(SMALL).state_dict()}
    opener = bz2.open if path.suffix == ".bz2" else open
    with opener(path, "wb") as file:
        torch.save(content, file)
    return path


@pytest.mark.parametrize("file", ["best_model.pt.bz2", "best_model.pt"])
def test_imported_model_answers_as_the_network(tmp_path, models, file):
    folder = import_checkpoint(write_checkpoint(tmp_path / file), "theirs", "none")
    assert folder == models / "theirs" == user_models() / "theirs"
    assert sorted(p.name for p in folder.iterdir()) == ["card.json", "model.safetensors"]
    predictor = open_model("theirs")
    assert isinstance(predictor, PublishedPredictor)
    assert "theirs" in {row["name"] for row in describe_models()}
    band = rocksalt_band()
    with torch.inference_mode():
        raw = recipe_model(SMALL)(band_graph(band)).item()
    done = []
    found = predictor.predict([band] * 3, batch_size=2, progress=done.append)
    assert [p.barrier_ev for p in found] == pytest.approx([raw] * 3, abs=1e-6)
    assert [(p.id, p.interval_90_ev) for p in found] == [("lif", None)] * 3
    assert done == [2, 3]
    assert predictor.card["parameters"] == sum(p.numel() for p in recipe_model(SMALL).parameters())


def test_published_size_answers_as_the_original_code(tmp_path, reference, train_bands):
    path = write_checkpoint(tmp_path / "best_model.pt.bz2", {"model": recipe_model().state_dict()})
    predictor = PublishedPredictor(import_checkpoint(path, "published", "none"))
    for example in reference["examples"][:3]:
        band = train_bands[str(example["id"])]
        (found,) = predictor.predict([band])
        assert found.barrier_ev == pytest.approx(example["output"], abs=1e-4)


def test_scales():
    ends = torch.tensor([-1.0, 0.0, 1.0])
    assert Scale.parse("none").to_ev(ends).tolist() == [-1.0, 0.0, 1.0]
    assert Scale.parse("train").to_ev(ends).tolist() == pytest.approx(
        [0.0035, 4.38675, 8.77], abs=1e-6
    )
    assert Scale.parse("0.5,0.2,-1,4").to_ev(ends).tolist() == pytest.approx(
        [0.3, 0.8, 1.3], abs=1e-6
    )


@pytest.mark.parametrize(
    "text", ["", "trained", "1,2,3", "1,0,-1,1", "0,1,2,1", "nan,1,-1,1", "0,1,-1,inf"]
)
def test_scale_that_cannot_be(text):
    with pytest.raises(BadInput, match="--scale"):
        Scale.parse(text)


class Payload:
    def __reduce__(self):
        return (open, ("owned", "w"))


def bad_files(folder):
    good = recipe_model(SMALL).state_dict()
    truncated = folder / "truncated.pt.bz2"
    truncated.write_bytes(write_checkpoint(folder / "whole.pt.bz2").read_bytes()[:-500])
    text = folder / "text.pt"
    text.write_text("no checkpoint")
    evil = folder / "evil.pt"
    evil.write_bytes(pickle.dumps({"model": Payload()}))
    evil_zip = write_checkpoint(folder / "evil2.pt", {"model": {"a": Payload()}})
    nan = {**good, "fc_out.0.bias": torch.tensor([float("nan")])}
    return {
        "missing": (folder / "absent.pt", "cannot be read"),
        "truncated": (truncated, "cannot be read"),
        "text": (text, "not a PyTorch checkpoint"),
        "pickle that runs": (evil, "not a PyTorch checkpoint"),
        "zip that runs": (evil_zip, "not a PyTorch checkpoint"),
        "no model": (write_checkpoint(folder / "n.pt", {"weights": good}), "model: missing"),
        "other model": (
            write_checkpoint(folder / "o.pt", {"model": {"w": torch.ones(2)}}),
            "fc_out",
        ),
        "less": (
            write_checkpoint(
                folder / "l.pt",
                {"model": {k: v for k, v in good.items() if k != "gcn_layers.0.bn_nodes.bias"}},
            ),
            "does not fit",
        ),
        "seven heads": (
            write_checkpoint(
                folder / "s.pt",
                {"model": {**good, **{f"fc_out.{i}.weight": torch.ones(1, 8) for i in range(7)}}},
            ),
            "7 outputs",
        ),
        "not finite": (write_checkpoint(folder / "f.pt", {"model": nan}), "not finite"),
    }


def test_bad_files_are_refused_in_one_line(tmp_path, models, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for case, (path, message) in bad_files(tmp_path).items():
        with pytest.raises(BadInput, match=message) as caught:
            import_checkpoint(path, "x")
        assert str(path) in str(caught.value), case
        assert "\n" not in str(caught.value), case
    assert not models.exists() or not any(models.iterdir())
    assert not (tmp_path / "owned").exists()


def test_names(tmp_path, models):
    path = write_checkpoint(tmp_path / "best_model.pt")
    for name in ["", "../x", "a/b", ".hidden", "a b"]:
        with pytest.raises(BadInput, match="--name"):
            import_checkpoint(path, name)
    with pytest.raises(BadInput, match="shipped"):
        import_checkpoint(path, "default")
    import_checkpoint(path, "mine", "train")
    with pytest.raises(BadInput, match="taken"):
        import_checkpoint(path, "mine", "none")
    import_checkpoint(path, "mine", "none", overwrite=True)
    assert json.loads((models / "mine" / "card.json").read_text())["scale"]["name"] == "none"


def test_damaged_import_is_refused_in_one_line(tmp_path):
    folder = import_checkpoint(write_checkpoint(tmp_path / "best_model.pt"), "mine")
    weights, card = folder / "model.safetensors", folder / "card.json"
    whole, text = weights.read_bytes(), card.read_text()
    flipped = bytearray(whole)
    flipped[-3] ^= 1
    for damaged in (whole[:-64], bytes(flipped)):
        weights.write_bytes(damaged)
        with pytest.raises(BadInput) as caught:
            PublishedPredictor(folder)
        assert "\n" not in str(caught.value)
    weights.write_bytes(whole)
    for wrong in ("{", text.replace('"hidden": 16', '"hidden": 8'), text.replace('"low"', '"lo"')):
        card.write_text(wrong)
        with pytest.raises(BadInput) as caught:
            PublishedPredictor(folder)
        assert "\n" not in str(caught.value)
    card.write_text(text)
    assert PublishedPredictor(folder).name == "mine"
