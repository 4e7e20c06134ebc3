"""An exported audio classifier gives the model's numbers at every length of clip."""

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import jaxtyping
import numpy as np
import onnx
import onnxruntime
import pytest
import torch

import triptych
from triptych.checkpoints.onnx import save_onnx
from triptych.features.audio_preprocess import AudioPreprocess, preprocess_from_dict
from triptych.features.mel_presets import ast
from triptych.models.classifier import Classifier
from triptych.nn.coordinates import running_time
from triptych.nn.feedforward import GELUFeedForward
from triptych.nn.head import NormedHead
from triptych.nn.mixers.softmax import SoftmaxMixer
from triptych.nn.norm import LayerNorm
from triptych.nn.patch import PatchEmbedding
from triptych.nn.pool import MeanPool, PrefixMeanPool
from triptych.nn.position import LearnedPosition, RotaryPosition
from triptych.nn.time_position import LearnedTimePosition
from triptych.towers.audio import AudioTower

pytestmark = pytest.mark.slow

BINS, FRAMES = 40, 96
VARIANTS: dict[str, dict[str, Any]] = {
    "AST's": {},
    "AST's, centred, last frames filled up": {
        "position": partial(LearnedTimePosition, centred=True), "tail": "complete", "pad_value": -1.25,
    },
    "patches side by side, rotary, mean": {
        "patch": partial(PatchEmbedding, patch_size=8, channels=1), "registers": 0, "pool": MeanPool,
        "position": partial(RotaryPosition, coordinates=running_time),
    },
    "positions of a picture, filled up": {"position": LearnedPosition, "tail": "complete"},
}  # fmt: skip


@pytest.fixture(autouse=True, scope="module")
def unchecked_shapes() -> Iterator[None]:
    """A graph is traced with sizes that are no numbers, which checks of shapes at run time would pin down."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


def make(**parts: Any) -> Classifier:
    torch.manual_seed(0)
    settings: dict[str, Any] = {
        "patch": partial(PatchEmbedding, patch_size=8, channels=1, stride=5), "mixer": partial(SoftmaxMixer, heads=2),
        "feedforward": GELUFeedForward, "norm": LayerNorm, "position": LearnedTimePosition, "pool": PrefixMeanPool,
        "registers": 1, "tail": "drop",
    }  # fmt: skip
    tower = AudioTower(BINS, FRAMES, 16, 1, **{**settings, **parts})
    model = Classifier(tower, 5, AudioPreprocess(ast(mel_bins=BINS)), partial(NormedHead, norm=LayerNorm))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    model.config = {"classes": ["cat", "dog", "rain", "猫", "e"]}
    return model.eval()


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_graph_is_the_model_at_any_length(variant: str, tmp_path: Path) -> None:
    model = make(**VARIANTS[variant])
    check = save_onnx(model, tmp_path / "out")
    assert check.difference < 1e-5
    assert len({shape[1] for shape in check.shapes}) == 3
    session = onnxruntime.InferenceSession(tmp_path / "out" / "model.onnx")
    (given,) = session.get_inputs()
    assert (given.name, given.shape, given.type) == ("mel", ["batch", "frames", BINS], "tensor(float)")
    for batch, frames in [(1, FRAMES), (3, 8), (2, 9), (1, 12), (1, 13), (2, 50), (1, 97), (2, 333)]:
        mel = torch.randn(batch, frames, BINS)
        with torch.no_grad():
            wanted = model(mel).numpy()
        (got,) = session.run(["logits"], {"mel": mel.numpy()})
        np.testing.assert_allclose(np.asarray(got), wanted, rtol=1e-4, atol=2e-5)


def test_one_length_for_those_who_want_it_and_what_the_file_tells(tmp_path: Path) -> None:
    model = make()
    check = save_onnx(model, tmp_path / "out", dynamic_size=False)
    assert check.shapes == [(1, FRAMES, BINS), (3, FRAMES, BINS)]
    graph = onnx.load(tmp_path / "out" / "model.onnx")
    onnx.checker.check_model(graph, full_check=True)
    assert {node.domain for node in graph.graph.node} == {""}
    told = json.loads((tmp_path / "out" / "config.json").read_text(encoding="utf-8"))
    assert told["classes"] == ["cat", "dog", "rain", "猫", "e"]
    assert told["input"] == f"mel: float32, normalised log-mel, (batch, {FRAMES}, {BINS})"
    assert told["normalised_inside"] is False
    assert preprocess_from_dict(told["preprocess"]) == model.preprocess


def test_export_writes_it_by_name(tmp_path: Path) -> None:
    triptych.export(make(), tmp_path / "out", format="onnx")
    assert sorted(each.name for each in (tmp_path / "out").iterdir()) == ["config.json", "model.onnx"]
