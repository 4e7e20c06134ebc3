"""What is done to a model before its processes share it."""

import pytest
from torch import nn

from triptych.errors import UserError
from triptych.nn.recompute import selective
from triptych.parallel.apply import checkpoint_activations

from ..nn.test_stack import make


def test_each_stack_of_a_model_is_told_what_to_compute_again() -> None:
    model = nn.ModuleDict({"image": make(), "text": make()})
    checkpoint_activations(model, "selective", 2)
    for stack in model.values():
        assert [block.recompute for block in stack.get_submodule("blocks").children()] == [selective, None, selective]
    checkpoint_activations(model, "none", 1)
    assert all(block.recompute is None for block in model["image"].get_submodule("blocks").children())


def test_a_model_without_blocks_is_refused() -> None:
    with pytest.raises(UserError, match=r"trainer\.activation_checkpointing=blocks, but Linear has no stack of blocks"):
        checkpoint_activations(nn.Linear(2, 2), "blocks", 1)
