"""The classification objective learns, counts and reports."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

from triptych.callbacks.ema import EMACallback
from triptych.errors import UserError
from triptych.losses import binary_cross_entropy, softmax_cross_entropy
from triptych.models.classifier import Classifier
from triptych.nn.feedforward import GELUFeedForward
from triptych.nn.mixers.softmax import SoftmaxMixer
from triptych.nn.norm import LayerNorm
from triptych.nn.patch import PatchEmbedding
from triptych.nn.pool import ClassTokenPool
from triptych.nn.position import LearnedPosition
from triptych.objectives.mixing import BatchMix
from triptych.optim.muon import muon
from triptych.towers.vision import VisionTower

Make = Callable[..., Any]


def test_it_learns_a_separable_toy(objective: Make, loader: Make, trainer: Make) -> None:
    model = objective()
    run = trainer(max_steps=60, max_epochs=-1)
    run.fit(model, loader(48, 16), loader(48, 16))
    metrics = run.validate(model, loader(30, 7), verbose=False)[0]
    assert metrics["val/accuracy"] > 0.9
    assert run.global_step == 60


@pytest.mark.parametrize("size", [3, 4, 10])
def test_validation_counts_samples_not_batches(objective: Make, loader: Make, trainer: Make, size: int) -> None:
    model = objective()
    whole = trainer().validate(model, loader(10, 10), verbose=False)[0]
    parts = trainer().validate(model, loader(10, size), verbose=False)[0]
    assert parts == pytest.approx(whole)
    assert set(whole) == {"val/loss", "val/accuracy", "val/mean_class_accuracy"}


def test_several_validation_sets_have_their_names(objective: Make, loader: Make, trainer: Make) -> None:
    model = objective(validation_names=["seen", "unseen"])
    results = trainer().validate(model, [loader(6, 4), loader(10, 4)], verbose=False)
    names = {name for result in results for name in result}
    assert {"val/accuracy", "unseen/accuracy", "unseen/loss"} <= names
    assert not any(name.startswith("seen/") for name in names)
    assert {name: len(kept) for name, kept in model.predictions.items()} == {"val": 6, "unseen": 10}
    assert model.confusion["unseen"].sum() == 10


def test_a_wrong_number_of_names_is_refused(objective: Make, loader: Make, trainer: Make) -> None:
    with pytest.raises(UserError, match="2 validation sets, but validation_names has 1"):
        trainer().validate(objective(), [loader(4, 4), loader(4, 4)], verbose=False)


def test_predictions_keep_what_was_said_of_the_first_samples(objective: Make, loader: Make, trainer: Make) -> None:
    model = objective()
    trainer().validate(model, loader(10, 4), verbose=False)
    kept = model.predictions["val"]
    assert kept.index.tolist() == list(range(10))
    images = torch.stack([sample["image"] for sample in loader(10, 4).dataset])
    with torch.inference_mode():
        expected = model.model.eval()(model.normalise(images))
    torch.testing.assert_close(kept.logits, expected)
    assert (kept.logits.argmax(-1) == kept.labels).sum() == model.confusion["val"].diagonal().sum()


def test_the_real_classifier_trains(objective: Make, loader: Make, trainer: Make) -> None:
    torch.manual_seed(0)
    tower = VisionTower(
        image_size=4,
        dim=16,
        depth=2,
        patch=partial(PatchEmbedding, patch_size=2),
        mixer=partial(SoftmaxMixer, heads=2),
        feedforward=GELUFeedForward,
        norm=LayerNorm,
        position=LearnedPosition,
        pool=ClassTokenPool,
        registers=2,
        layer_scale=0.1,
    )
    model = objective(model=Classifier(tower, 3), optimizer=partial(muon, lr=1e-2), clip=1.0)
    run = trainer(max_steps=60, max_epochs=-1, callbacks=[EMACallback(0.9)])
    run.fit(model, loader(48, 16))
    names = {id(parameter): name for name, parameter in model.model.named_parameters()}
    groups = {g["name"]: {names[id(p)] for p in g["params"]} for g in run.optimizers[0].param_groups}
    assert len(groups["muon"]) == 10
    assert {"head.weight", "tower.patch.projection.weight"} <= groups["muon"]
    assert {"tower.class_token", "tower.registers", "tower.position.places"} <= groups["no_decay"]
    assert run.validate(model, loader(30, 7), verbose=False)[0]["val/accuracy"] > 0.9


def test_predictions_are_bounded() -> None:
    from triptych.objectives.predictions import Predictions

    kept = Predictions(limit=5)
    for start in range(0, 12, 4):
        kept.add(torch.zeros(4, 2), torch.zeros(4).long(), torch.arange(start, start + 4))
    assert kept.index.tolist() == [0, 1, 2, 3, 4]
    assert len(kept.logits) == len(kept.labels) == len(kept) == 5


def samples(labels: torch.Tensor) -> DataLoader[Any]:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 120, (len(labels), 3, 4, 4), generator=generator)
    rows = labels if labels.is_floating_point() else nn.functional.one_hot(labels, 3)
    images = (images + 120 * (rows > 0.5)[:, :, None, None]).to(torch.uint8)
    items = [{"image": images[i], "label": labels[i], "index": torch.tensor(i)} for i in range(len(labels))]
    return DataLoader(items, batch_size=8)  # pyright: ignore[reportArgumentType]


def test_several_labels_a_sample(objective: Make, trainer: Make) -> None:
    labels = (torch.rand(32, 3, generator=torch.Generator().manual_seed(5)) > 0.5).float()
    loss = partial(binary_cross_entropy, label_smoothing=0.05)
    model = objective(multi_label=True, loss=loss, mix=BatchMix(mixup=0.2))
    run = trainer(max_steps=80, max_epochs=-1)
    run.fit(model, samples(labels))
    metrics = run.validate(model, samples(labels), verbose=False)[0]
    assert model.monitor == "val/mean_average_precision"
    assert metrics["val/mean_average_precision"] > 0.95
    assert metrics["val/f1"] > 0.85
    assert model.confusion == {}


@pytest.mark.parametrize("loss", [softmax_cross_entropy, binary_cross_entropy])
def test_soft_targets_and_class_numbers_train_alike(objective: Make, trainer: Make, loss: Any) -> None:
    labels = torch.randint(3, (16,), generator=torch.Generator().manual_seed(6))
    weights = []
    for target in (labels, nn.functional.one_hot(labels, 3).float()):
        model = objective(loss=loss)
        trainer(max_steps=4, max_epochs=-1).fit(model, samples(target))
        weights.append(list(model.model.parameters()))
    for left, right in zip(*weights, strict=True):
        torch.testing.assert_close(left, right)


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ({"multi_label": True}, "multi_label=true with softmax_cross_entropy.*binary_cross_entropy"),
        ({"multi_label": True, "loss": partial(softmax_cross_entropy)}, "multi_label=true with softmax_cross_entropy"),
        ({"loss": partial(softmax_cross_entropy, label_smoothing=1.5)}, "label_smoothing is 1.5"),
        ({"validation_names": ["a", "b", "b"]}, "must be different names"),
        ({"validation_names": []}, "must be different names"),
    ],
)
def test_settings_that_contradict_are_refused(objective: Make, chosen: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        objective(**chosen)
