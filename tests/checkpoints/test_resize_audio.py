"""A trained audio model for clips of another length: positions as AST moves them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

import triptych
from triptych.build import MODEL_PACKAGES, build
from triptych.checkpoints.ast_common import AstShape, ast_model, ast_preprocess
from triptych.checkpoints.foreign import part
from triptych.checkpoints.resize_audio import with_frames
from triptych.errors import UserError
from triptych.features.mel_presets import ast
from triptych.nn.time_position import transfer_grid

ROTARY = part(
    "position.RotaryPosition", coordinates={"_target_": "triptych.nn.coordinates.running_time", "_partial_": True}
)


def make(frames: int = 1024, stride: int = 10, **tower: Any) -> Any:
    torch.manual_seed(0)
    shape = AstShape(128, frames, 24, 1, 2, (16, 16), (stride, stride), 1e-6, 1e-5)
    config = ast_model(shape, 3, part("feedforward.GELUFeedForward"), -1.25)
    config["tower"] |= tower
    model: Any = build(config, MODEL_PACKAGES)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    model.preprocess = ast_preprocess(ast(), frames)
    model.config = {"model": config, "preprocess": model.preprocess.to_dict()}
    return model.eval()


@pytest.mark.parametrize(("frames", "moments", "first"), [(512, 50, 25), (128, 12, 44), (1000, 99, 1)])
def test_fewer_frames_take_the_middle_of_asts_table(frames: int, moments: int, first: int, tmp_path: Path) -> None:
    """12 x 101 places of 1024 frames: those from 50 - t // 2 on, cut out by hand."""
    model = make()
    triptych.export(model, tmp_path / "saved")
    new: Any = triptych.load(tmp_path / "saved", frames=frames)
    table = model.tower.position.places.detach().numpy().reshape(12, 101, 24)
    assert first == 50 - moments // 2
    by_hand = table[:, first : first + moments].reshape(12 * moments, 24)
    assert np.array_equal(new.tower.position.places.detach().numpy(), by_hand)
    assert new.tower.position.built_grid == (12, moments)
    assert new.tower.frames == frames
    assert new.preprocess.front_end.count(new.preprocess.max_samples) == frames
    for name, tensor in model.state_dict().items():
        assert name == "tower.position.places" or torch.equal(new.state_dict()[name], tensor)
    triptych.export(new, tmp_path / "new")
    mel = torch.randn(2, frames, 128)
    assert torch.equal(triptych.load(tmp_path / "new")(mel), new(mel))


def test_more_frames_stretch_the_table(tmp_path: Path) -> None:
    model = make(512)
    new = with_frames(model, 1024)
    picture = model.tower.position.places.view(1, 12, 50, 24).permute(0, 3, 1, 2)
    expected = F.interpolate(picture, size=(12, 101), mode="bilinear")[0].permute(1, 2, 0).flatten(0, 1)
    torch.testing.assert_close(new.tower.position.places, expected, rtol=1e-4, atol=1e-5)
    # A tower that stretches for each batch gives the same.
    mel = torch.randn(2, 1024, 128)
    torch.testing.assert_close(new(mel), model(mel), rtol=1e-4, atol=1e-5)


@settings(max_examples=30, deadline=None)
@given(old=st.tuples(st.integers(1, 9), st.integers(1, 15)), new=st.tuples(st.integers(1, 12), st.integers(1, 20)))
def test_each_axis_is_cut_or_stretched(old: tuple[int, int], new: tuple[int, int]) -> None:
    """Against AST's own steps, time first."""
    table = torch.randn(old[0] * old[1], 5)
    picture = table.unflatten(0, old).permute(2, 0, 1)[None]
    (rows, columns), (height, width) = old, new
    if width <= columns:
        picture = picture[..., int(columns / 2) - int(width / 2) : int(columns / 2) - int(width / 2) + width]
    else:
        picture = F.interpolate(picture, size=(rows, width), mode="bilinear")
    if height <= rows:
        picture = picture[:, :, int(rows / 2) - int(height / 2) : int(rows / 2) - int(height / 2) + height]
    else:
        picture = F.interpolate(picture, size=(height, width), mode="bilinear")
    expected = picture[0].permute(1, 2, 0).flatten(0, 1)
    torch.testing.assert_close(transfer_grid(table, old, new), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("frames", [128, 400, 1024])
def test_rotary_positions_stay_as_they_were_trained(frames: int) -> None:
    model = make(512, position=ROTARY)
    new = with_frames(model, frames)
    for length in (100, 300, 600):
        mel = torch.randn(1, length, 128)
        torch.testing.assert_close(new(mel), model(mel), rtol=1e-5, atol=1e-6)


def test_no_limit_stays_none() -> None:
    model = make(512)
    model.preprocess = type(model.preprocess)(ast())
    assert with_frames(model, 128).preprocess.max_seconds is None


def test_mistakes_are_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="frames is 0; it must be at least 1"):
        with_frames(make(512), 0)
    image = triptych.create("vit_pico_patch4_28", num_classes=3)
    with pytest.raises(UserError, match=r"Only a Classifier over an AudioTower .* not this Classifier"):
        with_frames(image, 128)
    triptych.export(make(512), tmp_path / "saved")
    with pytest.raises(UserError, match="Only a Classifier over a VisionTower"):
        triptych.load(tmp_path / "saved", image_size=32)
