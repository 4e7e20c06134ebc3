"""The contrastive objective: one step a batch, whatever the micro-batches; what it logs, and what it refuses."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from lightning.pytorch import Trainer
from torch import Tensor
from torch.utils.data import DataLoader

from triptych.errors import UserError
from triptych.features.pixels import Pixels
from triptych.losses import contrastive, sigmoid_contrastive, softmax_contrastive
from triptych.objectives.contrastive import ContrastiveObjective, Prompts
from triptych.optim.adamw import adamw
from triptych.optim.schedule import constant
from triptych.parallel.exchange import Ring

from ..distributed.toy_pairs import toy_pair, toy_pairs

MakeTrainer = Callable[..., Trainer]


def make(lr: float = 0.01, **settings: Any) -> ContrastiveObjective:
    return ContrastiveObjective(toy_pair(), partial(adamw, lr=lr), constant, [Pixels([0.5] * 3, [1.0] * 3)], **settings)


def loader(count: int, batch_size: int, **more: Tensor) -> DataLoader[dict[str, Tensor]]:
    samples = {**toy_pairs(count, 3), **more}
    return DataLoader(
        [{key: value[row] for key, value in samples.items()} for row in range(count)],  # pyright: ignore[reportArgumentType]
        batch_size=batch_size,
    )


@pytest.mark.parametrize("loss", [softmax_contrastive, sigmoid_contrastive])
def test_micro_batches_change_nothing(loss: Callable[..., Tensor], trainer: MakeTrainer) -> None:
    weights = []
    for size in (None, 3, 1):
        objective = make(loss=loss, micro_batch_size=size)
        run = trainer(max_epochs=1, precision="64-true")
        run.fit(objective, loader(18, 8))
        assert run.global_step == 3, "a batch is a step"
        weights.append(objective.model.state_dict())
    for other in weights[1:]:
        torch.testing.assert_close(other, weights[0], rtol=1e-6, atol=1e-9)


def test_training_learns_the_pairs_and_clamps_the_scale(trainer: MakeTrainer) -> None:
    objective = make(lr=0.02, micro_batch_size=4)
    run = trainer(max_epochs=40)
    run.fit(objective, loader(12, 12), loader(12, 12))
    assert run.logged_metrics["val/recall_at_1"].item() > 0.6
    assert 1.0 <= run.logged_metrics["logit_scale"].item() <= 100.0 + 1e-3
    assert {"train/loss", "lr", "logit_scale", *objective.validation_metrics} <= set(run.logged_metrics)


def test_the_scale_never_leaves_its_range(trainer: MakeTrainer) -> None:
    objective = make(lr=50.0)
    trainer(max_epochs=2).fit(objective, loader(8, 4))
    assert 0.0 <= objective.pair.logit_scale.item() <= math.log(100.0) + 1e-6


@pytest.mark.parametrize("ids", [True, False])
def test_validation_loss_is_the_mean_of_its_batches_and_ranks_are_over_all(trainer: MakeTrainer, ids: bool) -> None:
    """Without ids, each sample is a positive of itself alone, across batches too."""
    objective, samples = make(), toy_pairs(7, 3)
    if not ids:
        samples.pop("id")
    rows = [{key: value[row] for key, value in samples.items()} for row in range(7)]
    run = trainer()
    run.validate(objective, DataLoader(rows, batch_size=4), verbose=False)  # pyright: ignore[reportArgumentType]
    model = toy_pair().eval()
    with torch.no_grad():
        images, texts = model.features({**samples, "image": samples["image"]})
    parts = [slice(0, 4), slice(4, 7)]
    given = samples.get("id")
    losses = [
        contrastive([images[part], texts[part]], model.logit_scale, None, None if given is None else given[part])
        for part in parts
    ]
    expected = (4 * losses[0] + 3 * losses[1]) / 7
    found = run.logged_metrics
    assert found["val/loss"].item() == pytest.approx(expected.item(), rel=1e-4)
    numbers = torch.arange(7) if given is None else given
    hit = (numbers[(images @ texts.T).argmax(1)] == numbers).double().mean().item()
    assert found["val/image_to_text_recall_at_1"].item() == pytest.approx(hit)


def test_classes_are_embedded_as_the_mean_of_their_prompts(trainer: MakeTrainer) -> None:
    texts = toy_pairs(6, 9)
    prompts = Prompts(texts["text"].view(3, 2, -1), texts["text_length"].view(3, 2))
    objective = make(prompts={"things": prompts}, validation_names=["things"], micro_batch_size=4)
    labels = torch.tensor([0, 2, 1, 0, 2])
    run = trainer()
    run.validate(objective, loader(5, 2, label=labels, index=torch.arange(5)), verbose=False)
    model = toy_pair().eval()
    with torch.no_grad():
        classes = model.embed("text", texts["text"], texts["text_length"]).view(3, 2, -1).mean(1)
        images = model.features(toy_pairs(5, 3))[0]
    scores = images @ (classes / classes.norm(dim=1, keepdim=True)).T
    accuracy = (scores.argmax(1) == labels).double().mean().item()
    assert objective.monitor == "val/accuracy"
    assert run.logged_metrics["val/accuracy"].item() == pytest.approx(accuracy)
    torch.testing.assert_close(objective.predictions["val"].logits, 10 * scores, rtol=1e-3, atol=1e-3)
    assert objective.confusion["val"].sum().item() == 5


def test_mistakes_are_told() -> None:
    with pytest.raises(UserError, match="compares the towers of a model, but Linear has no towers, embed, logit_scale"):
        ContrastiveObjective(torch.nn.Linear(1, 1), partial(adamw, lr=1.0), constant, [Pixels([0.5], [0.5])])
    with pytest.raises(UserError, match=r"exchange is a ring, but softmax_contrastive needs all.*exchange=own_rows"):
        make(exchange=Ring())
    with pytest.raises(UserError, match=r"hardness is -1\.0, but must be at least 0"):
        make(loss=partial(softmax_contrastive, hardness=-1.0))
    prompts = Prompts(torch.zeros(2, 1, 5).long(), torch.ones(2, 1).long())
    with pytest.raises(UserError, match=r"there are prompts for \['test'\], but the validation sets are \['val'\]"):
        make(prompts={"test": prompts})
    with pytest.raises(UserError, match=r"validation_names is \['a', 'val'\], but must be different names"):
        make(validation_names=["a", "val"])
