"""An exported graph gives the model's numbers at every batch and image size, or there is none."""

import json
import sys
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
from torch import Tensor, nn

import triptych
from triptych.checkpoints import onnx as module
from triptych.checkpoints.onnx import save_onnx
from triptych.errors import UserError
from triptych.features.preprocess import Preprocess
from triptych.models.classifier import Classifier
from triptych.nn.feedforward import GELUFeedForward, SwiGLUFeedForward
from triptych.nn.layout import SequenceLayout
from triptych.nn.mixers.base import Abilities, Mixer
from triptych.nn.mixers.softmax import SoftmaxMixer
from triptych.nn.norm import LayerNorm, RMSNorm
from triptych.nn.patch import PatchEmbedding
from triptych.nn.pool import AttentionPool, ClassTokenPool, MeanPool
from triptych.nn.position import LearnedPosition, LearnedRotaryPosition, RotaryPosition, SinusoidalPosition
from triptych.towers.vision import VisionTower

pytestmark = pytest.mark.slow

PLAIN: dict[str, Any] = {
    "patch": partial(PatchEmbedding, patch_size=4), "mixer": partial(SoftmaxMixer, heads=2),
    "feedforward": GELUFeedForward, "norm": LayerNorm, "position": LearnedPosition, "pool": ClassTokenPool,
}  # fmt: skip
# Every position, pool and feed-forward, and what else a graph may stumble over.
VARIANTS: dict[str, dict[str, Any]] = {
    "learned, class token, registers": {"registers": 3},
    "learned without antialiasing, mean": {"position": partial(LearnedPosition, antialias=False), "pool": MeanPool},
    "sinusoidal, attention pool, SwiGLU": {
        "position": SinusoidalPosition, "pool": partial(AttentionPool, heads=2), "feedforward": SwiGLUFeedForward,
    },
    "rotary, mean, grouped heads, qk-norm": {
        "position": RotaryPosition, "pool": MeanPool, "registers": 1, "norm": RMSNorm,
        "mixer": partial(SoftmaxMixer, heads=2, kv_heads=1, qk_norm=RMSNorm),
    },
    "learned and rotary, class token, layer scale": {"position": LearnedRotaryPosition, "layer_scale": 0.5},
    "patches that overlap": {"patch": partial(PatchEmbedding, patch_size=4, stride=2)},
}  # fmt: skip


class Sorter(Mixer):
    """Something that depends on how many tokens there are: no graph for any size."""

    abilities = Abilities(bidirectional=True, packed=True)
    rotary_dim = None

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.out = nn.Linear(16, 16)

    def forward(self, x: Tensor, layout: SequenceLayout, state: None = None) -> tuple[Tensor, None]:
        return self.out(x.transpose(-1, -2)).transpose(-1, -2), None


@pytest.fixture(autouse=True, scope="module")
def unchecked_shapes() -> Iterator[None]:
    """A graph is traced with sizes that are no numbers, which checks of shapes at run time would pin down."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


def make(channels: int = 3, **parts: Any) -> Classifier:
    torch.manual_seed(0)
    tower = VisionTower(image_size=16, dim=16, depth=1, **{**PLAIN, **parts})
    model = Classifier(tower, 5, Preprocess((16, 16), (0.4, 0.5, 0.6)[:channels], (0.2, 0.3, 0.25)[:channels]))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    model.config = {"classes": ["cat", "dog", "Größe", "猫", "e"]}
    return model.eval()


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory, unchecked_shapes: None) -> Path:
    folder = tmp_path_factory.mktemp("exported") / "out"
    triptych.export(make(registers=3), folder, format="onnx")
    return folder


def agrees(model: Classifier, folder: Path) -> None:
    """The graph gives the model's logits at sizes of all kinds, the smallest among them."""
    session = onnxruntime.InferenceSession(folder / "model.onnx")
    patch = model.tower.patch
    for batch, rows, columns in [(1, 4, 4), (4, 1, 2), (2, 8, 5), (3, 3, 12), (7, 1, 1)]:
        height, width = (4 + patch.stride[0] * (count - 1) for count in (rows, columns))
        pixels = torch.randint(0, 256, (batch, 3, height, width), dtype=torch.uint8)
        with torch.no_grad():
            wanted = model(model.preprocess.normalise(pixels)).numpy()
        (got,) = session.run(["logits"], {"image": pixels.numpy()})
        np.testing.assert_allclose(np.asarray(got), wanted, rtol=1e-4, atol=2e-5)


def test_the_graph_is_the_model_at_any_size(exported: Path) -> None:
    agrees(make(registers=3), exported)
    session = onnxruntime.InferenceSession(exported / "model.onnx")
    assert session.get_inputs()[0].shape == ["batch", 3, "4*rows", "4*columns"]
    assert session.get_inputs()[0].type == "tensor(uint8)"


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_has_a_graph(variant: str, tmp_path: Path) -> None:
    model = make(**VARIANTS[variant])
    check = save_onnx(model, tmp_path / "out")
    assert check.difference < 1e-5
    assert check.shapes[:2] == [(1, 3, 16, 16), (3, 3, 16, 16)]
    assert len({shape[2:] for shape in check.shapes}) == 2
    agrees(model, tmp_path / "out")


def test_the_file_tells_what_it_takes_and_uses_standard_operators_alone(exported: Path) -> None:
    preprocess = make().preprocess
    assert sorted(each.name for each in exported.iterdir()) == ["config.json", "model.onnx"]
    graph = onnx.load(exported / "model.onnx")
    onnx.checker.check_model(graph, full_check=True)
    assert {node.domain for node in graph.graph.node} == {""}
    told = {entry.key: entry.value for entry in graph.metadata_props}
    assert json.loads(told["classes"]) == ["cat", "dog", "Größe", "猫", "e"]
    assert Preprocess.from_dict(json.loads(told["preprocess"])) == preprocess
    assert "uint8" in told["input"]
    beside = json.loads((exported / "config.json").read_text(encoding="utf-8"))
    assert beside["classes"] == ["cat", "dog", "Größe", "猫", "e"]
    assert Preprocess.from_dict(beside["preprocess"]) == preprocess


def test_normalised_floats_and_one_size_for_those_who_want_them(tmp_path: Path) -> None:
    model = make(channels=1, patch=partial(PatchEmbedding, patch_size=4, channels=1))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    check = save_onnx(model, tmp_path / "out", normalise=False, dynamic_size=False)
    assert check.shapes == [(1, 1, 16, 16), (3, 1, 16, 16)]
    session = onnxruntime.InferenceSession(tmp_path / "out" / "model.onnx")
    assert session.get_inputs()[0].shape == ["batch", 1, 16, 16]
    assert session.get_inputs()[0].type == "tensor(float)"
    images = torch.randn(6, 1, 16, 16)
    with torch.no_grad():
        wanted = model(images).numpy()
    np.testing.assert_allclose(
        np.asarray(session.run(None, {"image": images.numpy()})[0]), wanted, rtol=1e-4, atol=2e-5
    )
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_what_has_no_graph_of_any_size_says_so_and_leaves_nothing(tmp_path: Path) -> None:
    model = make(mixer=Sorter, pool=MeanPool)
    with pytest.raises(UserError, match=r"no ONNX graph for images of any size \(.+\); try dynamic_size=false"):
        save_onnx(model, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_what_has_no_graph_of_any_size_may_have_one_of_its_own(tmp_path: Path) -> None:
    assert save_onnx(make(mixer=Sorter, pool=MeanPool), tmp_path / "out", dynamic_size=False).difference < 1e-5


def test_a_graph_with_other_numbers_is_not_kept(
    exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def spoilt(portable: Any, path: Path, *rest: Any) -> None:
        graph = onnx.load(exported / "model.onnx")
        bias = next(each for each in graph.graph.initializer if each.name.endswith("head.bias"))
        values = onnx.numpy_helper.to_array(bias) + np.float32(3e-3)
        bias.CopyFrom(onnx.numpy_helper.from_array(values, bias.name))
        onnx.save(graph, path)

    monkeypatch.setattr(module, "write_graph", spoilt)
    with pytest.raises(UserError, match=r"the ONNX graph was not kept: .* differ by 3\.0e-03 in a logit, and at most"):
        save_onnx(make(registers=3), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_mistakes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "there").mkdir()
    with pytest.raises(UserError, match="there exists already and is not overwritten"):
        save_onnx(make(), tmp_path / "there")
    with pytest.raises(UserError, match=r"model\.onnx names a file, but a folder is written"):
        save_onnx(make(), tmp_path / "model.onnx")
    with pytest.raises(UserError, match="only a Classifier can be written as ONNX, not a Linear"):
        save_onnx(nn.Linear(2, 2), tmp_path / "out")
    with pytest.raises(UserError, match=r"format is 'onx'; triptych\.export writes triptych, .*onnx"):
        triptych.export(make(), tmp_path / "out", format="onx")
    monkeypatch.setitem(sys.modules, "onnxscript", None)  # what an import then finds is that there is none
    with pytest.raises(UserError, match=r"needs onnxscript, which is not installed: .*'triptych\[onnx\]'"):
        save_onnx(make(), tmp_path / "out")
    assert [each.name for each in tmp_path.iterdir()] == ["there"]
