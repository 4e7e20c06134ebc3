"""A small stack of real blocks for the tests of optimizers."""

from functools import partial

import pytest
import torch
from torch import nn

from triptych.nn.block import Block
from triptych.nn.feedforward import SwiGLUFeedForward
from triptych.nn.layout import SequenceLayout
from triptych.nn.mixers.softmax import SoftmaxMixer


class Tiny(nn.Module):
    """Embedding, two blocks (one fused query-key-value and one fused gate-up each), head."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Linear(6, 16)
        self.position = nn.Parameter(torch.zeros(5, 16))
        self.blocks = nn.ModuleList(
            Block(16, partial(SoftmaxMixer, heads=2), partial(SwiGLUFeedForward, hidden_dim=24), nn.LayerNorm)
            for _ in range(2)
        )
        self.head = nn.Linear(16, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        layout = SequenceLayout.dense(x.shape[0], x.shape[1])
        x = self.embedding(x) + self.position
        for block in self.blocks:
            x = block(x, layout)
        return self.head(x.mean(1))


@pytest.fixture
def tiny() -> Tiny:
    torch.manual_seed(0)
    return Tiny()
