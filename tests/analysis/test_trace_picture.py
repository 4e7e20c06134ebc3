"""Two traces are drawn whatever is in them: equal, apart, not finite, of one step, without a loss."""

import math
from pathlib import Path

import pytest
from PIL import Image

from triptych.analysis.metrics import EPOCH, STEP, MetricsTable
from triptych.analysis.trace_picture import draw_traces
from triptych.analysis.traces import compare_traces

STEPS = range(1, 101)
LOSSES = [2.3 * 0.99**step for step in STEPS]
CASES = {
    "equal": ("train/loss", LOSSES, LOSSES),
    "apart": ("train/loss", LOSSES, [loss * (1 + 1e-7 * (step % 5)) for step, loss in zip(STEPS, LOSSES, strict=True)]),
    "nan later": ("train/loss", LOSSES, [*LOSSES[:50], math.nan]),
    "never finite": ("train/loss", LOSSES, [math.nan] * 100),
    "one step": ("train/loss", LOSSES[:1], [2.0]),
    "no loss": ("val/mAP", LOSSES, LOSSES[1:]),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("tolerance", [0.0, 1e-5])
def test_every_pair_is_drawn(case: str, tolerance: float, tmp_path: Path) -> None:
    name, *values = CASES[case]
    first, second = (
        MetricsTable([{STEP: step, EPOCH: 0.0, name: value} for step, value in zip(STEPS, each, strict=False)])
        for each in values
    )
    found = compare_traces(first, second, tolerance)
    draw_traces(first, second, found, ("outputs/$a", "outputs/b_" + 80 * "x"), tmp_path / "compare.png")
    with Image.open(tmp_path / "compare.png") as picture:
        assert picture.size == (960, 720)
        assert len(picture.convert("RGB").getcolors(1 << 24) or []) > 20
