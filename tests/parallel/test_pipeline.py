"""Micro-batches that pass through three stages leave the gradients of the whole model."""

from functools import partial
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from triptych.models.classifier import Classifier
from triptych.nn.feedforward import GELUFeedForward
from triptych.nn.mixers.softmax import SoftmaxMixer
from triptych.nn.norm import LayerNorm
from triptych.nn.patch import PatchEmbedding
from triptych.nn.pool import MeanPool
from triptych.nn.position import LearnedPosition
from triptych.parallel.launch import launch
from triptych.parallel.link import Link
from triptych.parallel.pipeline import Pipeline
from triptych.parallel.ranks import joined
from triptych.parallel.stages import keep_stage, stage_stacks
from triptych.towers.vision import VisionTower

STAGES = 3


def make() -> Classifier:
    torch.manual_seed(0)
    tower = VisionTower(
        8, 8, 4, partial(PatchEmbedding, patch_size=4), partial(SoftmaxMixer, heads=2), GELUFeedForward, LayerNorm,
        LearnedPosition, MeanPool, stochastic_depth=0.5,
    )  # fmt: skip
    return Classifier(tower, 3)


def batches() -> list[tuple[list[Tensor], Tensor]]:
    """Micro-batches of images of their own sizes, so of other numbers of tokens each; the last has but one image."""
    draw = torch.Generator().manual_seed(1)
    sizes = [[8, 12], [16, 8], [4, 20], [8, 8], [12]]
    return [([torch.rand(3, size, 8, generator=draw) for size in each], torch.arange(len(each)) % 3) for each in sizes]


def test_three_stages_have_the_gradients_of_the_whole_model() -> None:
    """Stochastic depth draws what it draws in one process, too."""
    assert launch(_compare, None, STAGES) == 0


def _compare(nothing: None) -> int:
    def loss(model: Classifier, batch: tuple[list[Tensor], Tensor]) -> Tensor:
        return torch.nn.functional.cross_entropy(model(batch[0]), batch[1])

    with joined() as ranks:
        whole, model = make(), make()
        torch.manual_seed(2)
        expected = torch.stack([loss(whole, batch) for batch in batches()]).sum()
        expected.backward()
        logits = torch.cat([whole.eval()(images).detach() for images, _ in batches()])

        link, trained = Link(ranks.rank, STAGES), {name for name, _ in model.named_parameters()}
        stage_stacks(model, link, trained)
        keep_stage(model, ranks.rank, STAGES, torch.device("cpu"))
        group: Any = dist.group.WORLD
        pipeline = Pipeline(link, group, torch.device("cpu"))
        pipeline.backward(partial(loss, model), batches())  # the next one uses the schedule that this one made
        model.zero_grad()
        torch.manual_seed(2)
        found = pipeline.backward(partial(loss, model), batches())
        torch.testing.assert_close(found, expected.detach())
        gradients = {name: parameter.grad for name, parameter in whole.named_parameters()}
        for name, parameter in model.named_parameters():
            torch.testing.assert_close(parameter.grad, gradients[name], msg=name)
        model.eval()
        parts = pipeline.forward(lambda batch: [model(batch[0])], batches())
        torch.testing.assert_close(pipeline.share(torch.cat([each for (each,) in parts])), logits)
    return 0
