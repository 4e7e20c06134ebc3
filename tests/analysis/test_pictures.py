"""Every picture is made from every kind of data, and tells the truth about it."""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from triptych.analysis.confusion import draw_confusion
from triptych.analysis.curves import draw_curves, smoothed
from triptych.analysis.grids import draw_grid, draw_mistakes
from triptych.analysis.metrics import MetricsTable
from triptych.analysis.results import ClassificationResults, most_confused
from triptych.analysis.style import short

HOSTILE = ["$x^2", "$\\frac{", "<script>", "a" * 300, "猫🐈", "line\nbreak", "%s {0}", ""]
Make = Callable[..., ClassificationResults]


@pytest.mark.parametrize("number", [2, 8, 25, 70])
def test_confusion_of_any_number_of_hostile_names(make_results: Make, tmp_path: Path, number: int) -> None:
    classes = [f"{HOSTILE[place % 8]}{place}" for place in range(number)]
    assert draw_confusion(make_results(classes), tmp_path / "confusion.png")
    assert np.asarray(Image.open(tmp_path / "confusion.png")).std() > 5


def test_there_is_no_picture_of_nothing(make_results: Make, tmp_path: Path) -> None:
    empty = make_results(["a", "b"], samples=0)
    path = tmp_path / "picture.png"
    assert not draw_confusion(empty, path)
    assert not draw_curves(MetricsTable([]), path)
    assert not draw_grid(empty, lambda index: torch.zeros(1, 2, 2, dtype=torch.uint8), path)
    assert not draw_mistakes(empty, lambda index: torch.zeros(1, 2, 2, dtype=torch.uint8), path)
    assert not path.exists()


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 224, 224), (3, 10, 40), (4, 8, 8)])
def test_grids_of_any_image(make_results: Make, tmp_path: Path, shape: tuple[int, int, int]) -> None:
    results = make_results(HOSTILE, samples=9)
    asked: list[int] = []

    def image_of(index: int) -> Tensor:
        asked.append(index)
        return torch.randint(0, 256, shape, dtype=torch.uint8)

    assert draw_grid(results, image_of, tmp_path / "grid.png", most=5)
    assert asked == [0, 2, 4, 6, 8]


def test_mistakes_are_the_worst_ones_worst_first(make_results: Make, tmp_path: Path) -> None:
    results = make_results(["a", "b", "c"])
    losses = torch.nn.functional.cross_entropy(results.logits, results.labels, reduction="none")
    wrong = results.logits.argmax(1) != results.labels
    expected = [index for index in losses.argsort(descending=True).tolist() if wrong[index]][:4]
    asked: list[int] = []
    draw_mistakes(
        results, lambda index: asked.append(index) or torch.zeros(1, 4, 4, dtype=torch.uint8), tmp_path / "x.png", 4
    )
    assert asked == expected


def test_predictions_agree_with_torch(make_results: Make) -> None:
    results = make_results(["a", "b", "c"])
    said = results.predictions()
    losses = torch.nn.functional.cross_entropy(results.logits, results.labels, reduction="none")
    assert [each.loss for each in said] == pytest.approx(losses.tolist(), rel=1e-4)
    assert sum(each.right for each in said) == int((results.logits.argmax(1) == results.labels).sum())
    rows = torch.nn.functional.one_hot(results.labels).float()
    soft = ClassificationResults(results.logits, rows, results.indices, None, results.classes)
    assert soft.predictions() == said


def test_several_labels_are_right_only_together(make_results: Make) -> None:
    results = make_results(["a", "b", "c"], multi_label=True)
    for row, each in enumerate(results.predictions()):
        assert each.right == bool(((results.logits[row] > 0) == (results.labels[row] > 0)).all())
        assert 0.5 <= each.confidence <= 1


def test_most_confused_counts_wrong_pairs_only() -> None:
    confusion = torch.tensor([[50, 3, 0], [9, 11, 0], [0, 0, 7]])
    none = torch.zeros(0, dtype=torch.int64)
    results = ClassificationResults(torch.zeros(0, 3), none, none, confusion, ["x", "y", "z"])
    pairs = [(pair.true, pair.predicted, pair.count, pair.share) for pair in most_confused(results)]
    assert pairs == [("y", "x", 9, 9 / 20), ("x", "y", 3, 3 / 53)]


def test_curves_of_short_long_and_broken_runs(tmp_path: Path) -> None:
    rows: list[dict[str, int | float]] = []
    rows += [{"step": step, "epoch": step / 9, "train/loss": 1 / step, "lr": 0.1} for step in range(1, 60)]
    rows[30] |= {"val/loss": math.nan, "val/accuracy_$": 0.5}
    rows[40] |= {"val/loss": 0.3, "grad_norm": math.inf}
    for number, part in enumerate((rows[:1], rows, [{"step": 1, "epoch": 0.0, "train/loss": math.nan}])):
        assert draw_curves(MetricsTable(part), tmp_path / f"{number}.png")
        assert (tmp_path / f"{number}.png").exists()


def test_the_best_values_of_close_curves_do_not_hide_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows: list[dict[str, int | float]] = [
        {"step": step, "epoch": 1.0, "train/loss": 1.0, "val/loss": 1.26 - step / 1e3, "other/loss": 1.25 - step / 1e3}
        for step in (1, 2, 3)
    ]
    figures: list[Figure] = []
    monkeypatch.setattr("triptych.analysis.style.save", lambda figure, _: figures.append(figure))
    assert draw_curves(MetricsTable(rows), tmp_path / "curves.png")
    (axes,) = figures[0].axes
    legend = axes.get_legend()
    assert legend is not None
    said = [text.get_text() for text in legend.get_texts()]
    assert said == ["train/loss", "val/loss, best 1.257", "other/loss, best 1.247"]
    assert not axes.texts


def test_smoothing_keeps_a_constant_and_steps_over_what_is_not_finite() -> None:
    assert smoothed([2.0] * 200) == pytest.approx([2.0] * 200)
    assert smoothed([1.0, math.nan, 1.0]) == [1.0, 1.0, 1.0]


def test_a_short_name_keeps_both_ends() -> None:
    assert short("class of animals 17", 10) == "class…17"
    assert short("a\nb", 10) == "a b"
