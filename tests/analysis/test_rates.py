"""The picture of a search for a learning rate is drawn for curves that were read and for curves that were refused."""

import math
from pathlib import Path

import pytest
from PIL import Image

from triptych.analysis.rates import draw_climbs
from triptych.measure.learning_rate import ramp, read

RATES = ramp(1e-6, 10, 60)
GOOD = [2.3 - 0.02 * max(0, step - 20) if step < 45 else 2.0 + 5.0 * (step - 44) for step in range(60)]


@pytest.mark.parametrize(
    "losses",
    [GOOD, GOOD[:50], [*GOOD[:45], math.nan], [2.3 + (-1) ** step * 0.1 for step in range(60)], [1.0] * 60],
    ids=["good", "ended early", "not finite", "noise", "flat"],
)
def test_every_curve_is_drawn(losses: list[float], tmp_path: Path) -> None:
    reading = read(RATES, losses)
    draw_climbs([reading, reading], None if reading.refused else reading.rate, tmp_path / "curve.png")
    with Image.open(tmp_path / "curve.png") as picture:
        assert picture.width > 600
        assert len(picture.convert("RGB").getcolors(1 << 24) or []) > 20
