"""Models of timm as towers."""

from pathlib import Path
from typing import Any

import pytest
import timm
import torch

import triptych
from triptych.build import build
from triptych.checkpoints.format import write_checkpoint
from triptych.errors import UserError
from triptych.models.classifier import Classifier
from triptych.towers.timm import TimmTower, create

# A network of each kind, with the shape of its features: NCHW, NHWC, tokens with and without a class token.
NETWORKS = ["test_resnet", "test_convnext", "test_efficientnet", "test_vit", "test_byobnet", "test_mambaout"]


@pytest.mark.parametrize("name", NETWORKS)
def test_the_classifier_is_the_network_with_our_head(name: str) -> None:
    torch.manual_seed(0)
    tower = TimmTower(name, image_size=(96, 128), channels=1).eval()
    model: Any = Classifier(tower, 5)
    torch.nn.init.normal_(model.head.weight)
    images = torch.randn(2, 1, 96, 128)
    output = tower(images)
    assert output.pooled.shape == (2, tower.embedding_dim)
    assert output.tokens.shape[0] == 2
    assert output.tokens.shape[2] == tower.dim
    assert output.layout.max_length == output.tokens.shape[1]
    assert torch.equal(output.pooled, tower.model(images).flatten(1))
    features = tower.model.forward_features(images)
    mean = (
        features.mean((2, 3) if features.shape[1] == tower.dim else (1, 2)) if features.ndim == 4 else features.mean(1)
    )
    torch.testing.assert_close(output.tokens.mean(1), mean)
    assert model(images).shape == (2, 5)
    assert model.preprocess.image_size == (96, 128)
    assert len(model.preprocess.mean) == 1
    model.reset_head(3)
    assert model(images).shape == (2, 3)
    model.train()(images).sum().backward()
    assert all(p.grad is not None for p in model.head.parameters())


def test_swin_has_its_channels_last() -> None:
    tower = TimmTower("swin_tiny_patch4_window7_224", image_size=(64, 96)).eval()
    features = tower.model.forward_features(images := torch.randn(1, 3, 64, 96))
    assert torch.equal(tower(images).tokens, features.flatten(1, 2))
    assert tower.embedding_dim == features.shape[3]


@pytest.mark.parametrize("name", ["test_resnet", "test_vit", "test_efficientnet"])
def test_timm_reads_what_is_exported(name: str, tmp_path: Path) -> None:
    config = {
        "_target_": "triptych.models.classifier.Classifier",
        "num_classes": 4,
        "tower": {"_target_": "triptych.towers.timm.TimmTower", "name": name, "image_size": [96, 128], "channels": 1},
    }
    model: Any = build(config)
    model.config = {"model": config}
    torch.nn.init.normal_(model.head.weight)
    images = torch.randn(2, 1, 96, 128)
    expected = model.eval()(images)
    triptych.export(model, tmp_path / "timm", format="timm")
    theirs = timm.create_model(f"local-dir:{tmp_path / 'timm'}", pretrained=True).eval()
    torch.testing.assert_close(theirs(images), expected, rtol=1e-5, atol=1e-5)
    triptych.export(model, tmp_path / "own")
    assert torch.equal(triptych.load(tmp_path / "own")(images), expected)


def test_nothing_is_fetched_unasked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither by a name that is an address, nor by a checkpoint whose config asks for timm's weights."""

    class Asked(Exception):
        pass

    def fetch(*arguments: Any, **settings: Any) -> None:
        raise Asked

    for place in ("timm.models._builder.load_pretrained", "timm.models._factory.load_model_config_from_hf"):
        monkeypatch.setattr(place, fetch)
    TimmTower("test_vit", 160)
    for name in ("hf-hub:timm/test_vit", "local-dir:/x"):
        with pytest.raises(UserError, match="timm has no architecture"):
            TimmTower(name)
    tower = {"_target_": "triptych.towers.timm.TimmTower", "name": "test_vit", "image_size": 160, "pretrained": True}
    config = {"_target_": "triptych.models.classifier.Classifier", "num_classes": 2, "tower": tower}
    plain: Any = build({**config, "tower": {**tower, "pretrained": False}})
    state = {f"model.{key}": value for key, value in plain.state_dict().items()}
    write_checkpoint(tmp_path / "saved", {"state_dict": state, "triptych": {"config": {"model": config}}})
    assert torch.equal(triptych.load(tmp_path / "saved").state_dict()["head.weight"], plain.head.weight)
    with pytest.raises(Asked):
        TimmTower("test_vit", 160, pretrained=True)


def test_mistakes_are_told() -> None:
    with pytest.raises(UserError, match=r"test_vit of timm takes images of one size, .*not 2 of their own sizes"):
        TimmTower("test_vit", 160)([torch.randn(3, 160, 160), torch.randn(3, 32, 32)])
    with pytest.raises(UserError, match=r"timm has no architecture 'resnet19'; did you mean .*resnet18"):
        TimmTower("resnet19")
    with pytest.raises(UserError, match="patches of 16 x 16 pixels, of which 30 x 48 is no multiple"):
        TimmTower("test_vit", (30, 48))
    with pytest.raises(UserError, match=r"timm cannot build resnet18 with img_size=64: .*img_size"):
        create("resnet18", 0, pretrained=False, img_size=64)
