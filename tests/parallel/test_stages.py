"""A model in stages: every tensor is in one stage, under its own name; what cannot be cut is refused."""

from functools import partial
from typing import Any

import pytest
import torch
from torch import nn

from triptych.errors import UserError
from triptych.nn.feedforward import GELUFeedForward
from triptych.nn.mixers.softmax import SoftmaxMixer
from triptych.nn.norm import LayerNorm
from triptych.nn.patch import PatchEmbedding
from triptych.nn.pool import MeanPool
from triptych.nn.position import LearnedPosition
from triptych.parallel.mesh import Grid
from triptych.parallel.stages import Elsewhere, blocks_of, keep_stage, stage_of_each
from triptych.towers.vision import VisionTower


def tower(depth: int) -> VisionTower:
    return VisionTower(
        8, 6, depth, partial(PatchEmbedding, patch_size=4), partial(SoftmaxMixer, heads=2), GELUFeedForward, LayerNorm,
        LearnedPosition, MeanPool,
    )  # fmt: skip


class Pair(nn.Module):
    """Two towers and what comes after them."""

    def __init__(self, depths: tuple[int, int] = (4, 3)) -> None:
        super().__init__()
        self.towers = nn.ModuleDict({"image": tower(depths[0]), "other": tower(depths[1])})
        self.projection = nn.Linear(6, 5)
        self.logit_scale = nn.Parameter(torch.tensor(1.0))


@pytest.mark.parametrize("stages", [1, 2, 3, 5])
def test_blocks_are_shared_out_evenly(stages: int) -> None:
    shares = [blocks_of(7, stage, stages) for stage in range(stages)]
    assert [block for share in shares for block in share] == list(range(7))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


@pytest.mark.parametrize("stages", [2, 3])
def test_the_stages_together_are_the_model(stages: int) -> None:
    whole = Pair().state_dict()
    found: dict[str, torch.Tensor] = {}
    for stage in range(stages):
        torch.manual_seed(0)
        model = Pair()
        expected = model.state_dict()
        keep_stage(model, stage, stages, torch.device("cpu"))
        assert not found.keys() & model.state_dict().keys()
        assert all(torch.equal(tensor, expected[name]) for name, tensor in model.state_dict().items())
        assert {name for name, _ in model.named_parameters()} == model.state_dict().keys()
        found |= model.state_dict()
    assert {name: tensor.shape for name, tensor in found.items()} == {name: each.shape for name, each in whole.items()}


def test_the_first_stage_embeds_and_the_last_one_pools() -> None:
    stage_of = stage_of_each(Pair(), 2)
    of = {stage: {name for name, there in stage_of.items() if there == stage} for stage in (0, 1)}
    assert {"towers.image.patch.projection.weight", "towers.other.position.places"} <= of[0]
    assert any(name.startswith("towers.image.stack.blocks.1.") for name in of[0])
    assert any(name.startswith("towers.image.stack.blocks.2.") for name in of[1])
    assert any(name.startswith("towers.other.pool.norm") for name in of[1])
    assert {"projection.weight", "logit_scale"} <= of[1]


def test_what_is_gone_takes_no_memory_and_still_tells_how_tokens_lie() -> None:
    model = Pair()
    keep_stage(model, 1, 2, torch.device("cpu"))
    image: Any = model.towers["image"]
    assert all(buffer.untyped_storage().nbytes() <= 4 for buffer in image.patch.buffers())
    x, layout = image.embed(torch.rand(3, 3, 8, 8))
    assert (x.shape, layout.batch) == ((3, 4, 6), 3)
    assert not x.requires_grad
    with pytest.raises(RuntimeError, match="another process"):
        image.stack.blocks[0](x, layout)
    assert isinstance(image.stack.blocks[1], Elsewhere)


def test_more_stages_than_blocks() -> None:
    with pytest.raises(UserError, match=r"trainer.pipeline=4, but model.towers.other has a depth of 3 blocks"):
        stage_of_each(Pair(), 4)


def test_a_tower_without_blocks() -> None:
    model = Pair()
    model.towers["other"] = nn.Linear(3, 6)
    with pytest.raises(UserError, match=r"trainer.pipeline=2 .* model.towers.other is a Linear, which has no such"):
        stage_of_each(model, 2)
    with pytest.raises(UserError, match=r"trainer.pipeline=2 .* Linear has no tower"):
        stage_of_each(nn.Linear(2, 2), 2)


def test_a_parameter_that_two_stages_need() -> None:
    model = Pair()
    model.register_parameter("tied", model.get_parameter("towers.image.patch.projection.weight"))
    with pytest.raises(UserError, match=r"tied in stage 1 and towers.image.patch.projection.weight in stage 0"):
        stage_of_each(model, 2)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sharded": True}, "trainer.pipeline=2 together with trainer.sharded=true is not built"),
        ({"sharded": False, "tensor": 2}, "trainer.pipeline=2 together with trainer.tensor=2 is not built"),
    ],
)
def test_what_does_not_go_together(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Grid.of(4, pipeline=2, **settings)


def test_copies_of_a_pipeline_see_other_samples() -> None:
    grid = Grid.of(4, sharded=False, pipeline=2)
    assert grid.shape == (2, 2, 1, 1)
    assert [grid.data_rank(rank) for rank in range(4)] == [0, 1, 0, 1]
