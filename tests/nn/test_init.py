"""Every parameter starts by the table."""

from functools import partial

import pytest
import torch
from torch import nn

from triptych.nn.block import LayerScale
from triptych.nn.init import initialise, initialise_head, small_normal
from triptych.nn.linear import FusedLinear
from triptych.nn.patch import PatchEmbedding


def test_fused_maps_start_as_the_single_ones_would() -> None:
    fused, single = FusedLinear(256, (256, 64, 64)), nn.Linear(256, 256)
    initialise(nn.ModuleList([fused, single]))
    query, key, value = (float(part.std()) for part in fused.weight.detach().split(fused.splits))
    # A normal cut at two deviations keeps 0.88 of its deviation.
    assert query == pytest.approx(0.88 * (2 / 512) ** 0.5, rel=0.03)
    assert key == pytest.approx(0.88 * (2 / 320) ** 0.5, rel=0.03)
    assert value == pytest.approx(key, rel=0.05)
    assert float(single.weight.detach().std()) == pytest.approx(query, rel=0.03)
    assert not fused.bias.any()
    assert not single.bias.any()


def test_one_small_deviation_takes_no_notice_of_sizes() -> None:
    parts = [FusedLinear(64, (64, 64, 64)), nn.Linear(256, 512)]
    for linear, deviation in ((small_normal, 0.02), (partial(small_normal, deviation=0.1), 0.1)):
        initialise(nn.ModuleList(parts), linear)
        for part in parts:
            assert float(part.weight.detach().std()) == pytest.approx(0.88 * deviation, rel=0.03)
            assert not part.bias.any()


def test_patches_gains_and_heads() -> None:
    patch, scale, norm, head = PatchEmbedding(64, 8), LayerScale(4, 1e-3), nn.LayerNorm(4), nn.Linear(4, 3)
    nn.init.normal_(norm.weight)
    nn.init.normal_(scale.gain)
    initialise(nn.ModuleList([patch, scale, norm]))
    initialise_head(head)
    assert float(patch.projection.weight.detach().std()) == pytest.approx(0.88 * 192**-0.5, rel=0.03)
    assert torch.equal(scale.gain, torch.full((4,), 1e-3))
    assert torch.equal(norm.weight, torch.ones(4))
    assert not head.weight.any()


def test_a_parameter_without_a_rule_is_named() -> None:
    module = nn.Module()
    module.inner = nn.Bilinear(2, 2, 2)
    with pytest.raises(TypeError, match=r"inner\.weight \(Bilinear\)"):
        initialise(module)
