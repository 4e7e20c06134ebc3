"""The colours lie where the model looks: right way up, on the right patch, in the files too."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from triptych.analysis.explanation import Explanation, explain
from triptych.analysis.overlays import draw_explanation, draw_looks, overlay
from triptych.features.preprocess import Preprocess
from triptych.models.classifier import Classifier
from triptych.nn.feedforward import GELUFeedForward
from triptych.nn.mixers.softmax import SoftmaxMixer
from triptych.nn.norm import LayerNorm
from triptych.nn.patch import PatchEmbedding
from triptych.nn.pool import ClassTokenPool
from triptych.nn.position import LearnedPosition
from triptych.towers.vision import VisionTower

HEIGHT, WIDTH, PATCH = 32, 48, 8
GRID = (HEIGHT // PATCH, WIDTH // PATCH)


def gazing_at(row: int, column: int) -> Classifier:
    """A model whose tokens all attend to the one patch in this place: its key alone answers the queries."""
    torch.manual_seed(0)
    tower = VisionTower(
        (HEIGHT, WIDTH), 8, 2, partial(PatchEmbedding, patch_size=PATCH), partial(SoftmaxMixer, heads=2),
        GELUFeedForward, LayerNorm, LearnedPosition, ClassTokenPool, registers=1,
    )  # fmt: skip
    model = Classifier(tower, 3, Preprocess((HEIGHT, WIDTH), crop=1.0))
    position = tower.position
    assert isinstance(position, LearnedPosition)
    with torch.no_grad():
        model.head.weight.normal_()  # a new head's zeros speak for nothing
        position.places.zero_()
        # The first channel marks the place, and tells it from the others in every layer.
        position.places[row * GRID[1] + column, 0] = 100.0
        for block in tower.stack.blocks:
            mixer = block.mixer
            assert isinstance(mixer, SoftmaxMixer)
            mixer.qkv.weight[:16].zero_()
            assert mixer.qkv.bias is not None
            mixer.qkv.bias[:8] = 1.0
            mixer.qkv.weight[8:16, 0] = 4.0
    return model.eval()


@pytest.mark.parametrize(("row", "column"), [(0, 0), (0, 5), (3, 0), (2, 4), (1, 1)])
def test_a_model_that_looks_at_one_patch_lights_it_up(row: int, column: int) -> None:
    model = gazing_at(row, column)
    picture = torch.randint(0, 256, (3, HEIGHT, WIDTH), dtype=torch.uint8)
    found = explain(model, picture)
    assert torch.equal(found.pixels, picture)
    for heat in (found.rollout, found.relevance, *(layer.mean(0) for layer in found.layers)):
        assert heat.shape == GRID
        assert heat.max() > 0
        assert divmod(int(heat.argmax()), GRID[1]) == (row, column)
    grey = torch.full((3, HEIGHT, WIDTH), 128, dtype=torch.uint8)
    light = overlay(grey, found.rollout).astype(int).sum(2)
    inside = light[PATCH * row + 3 : PATCH * row + 5, PATCH * column + 3 : PATCH * column + 5]
    assert inside.min() > np.delete(light, range(PATCH * row, PATCH * row + PATCH), axis=0).max()
    assert light.max() in inside


def test_an_overlay_keeps_the_picture_and_takes_any_map() -> None:
    picture = torch.randint(0, 256, (1, 20, 30), dtype=torch.uint8)
    even = overlay(picture, torch.full((4, 6), 0.25))
    assert even.shape == (20, 30, 3)
    assert np.array_equal(even, overlay(picture, torch.zeros(4, 6)))
    grey = picture[0].numpy()
    assert np.corrcoef(even.sum(2).ravel(), grey.ravel())[0, 1] > 0.999
    # Only differences count, not their size.
    weights = torch.rand(4, 6)
    assert np.array_equal(overlay(picture, weights), overlay(picture, 1e-6 * weights + 1e-7))


def explanation(size: tuple[int, int], channels: int, layers: int, heads: int) -> Explanation:
    grid = (max(1, size[0] // 8), max(1, size[1] // 8))
    return Explanation(
        torch.randint(0, 256, (channels, *size), dtype=torch.uint8), torch.tensor([0.9, 0.1]), 0, torch.rand(grid),
        torch.rand(grid), [torch.rand(heads, *grid) for _ in range(layers)],
    )  # fmt: skip


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


@pytest.mark.parametrize(("size", "channels", "layers", "heads"), [((28, 28), 1, 1, 1), ((64, 160), 3, 8, 3)])
def test_pictures_of_any_model(size: tuple[int, int], channels: int, layers: int, heads: int, tmp_path: Path) -> None:
    found = explanation(size, channels, layers, heads)
    draw_explanation(found, ["$\\frac{", "b"], tmp_path / "one.png")
    draw_explanation(found, [], tmp_path / "heads.png", heads=True)
    assert draw_looks([found] * 9, ["a" * 300, "b"], tmp_path / "looks.png")
    one, with_heads, looks = (pixels(tmp_path / name) for name in ("one.png", "heads.png", "looks.png"))
    assert len(with_heads) > len(one)
    assert one.std() > 5
    assert len(looks) > 400
    assert not draw_looks([], [], tmp_path / "none.png")
    assert not (tmp_path / "none.png").exists()
