"""The bench of an AST's training step: it compares one model with itself, and counts work for real frames only."""

import random
import re
from typing import Any

import pytest
import torch

pytest.importorskip("transformers")

from bench import audio_step
from bench.audio_step import draw_clips, main

pytestmark = pytest.mark.slow


def test_clips_are_of_half_a_second_to_ten() -> None:
    for count in (4, 8, 64):
        lengths = draw_clips(count, random.Random(1)).lengths
        assert min(lengths) >= 50
        assert max(lengths) <= 1000
        assert sum(lengths) / count == pytest.approx(525, abs=1)


def test_it_prints_a_row_for_each_comparison(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--size", "nano", "--stride", "16", "--batch", "1", "--clips", "4", "--pairs", "2"])
    rows = re.findall(r"^([a-z .0-9]+)[,:].*?(\d+\.\d+) \([^)]*\) +(\d+\.\d+)", capsys.readouterr().out, re.M)
    assert [name for name, _, _ in rows] == ["dense", "packed", "packed", "patchout 0.5"]
    assert all(float(ratio) > 0 for _, ratio, _ in rows)
    dense, ours, theirs, patchout = (float(flops) for _, _, flops in rows)
    assert dense == pytest.approx(1, abs=0.05)
    assert theirs > ours > 1.5
    assert patchout > 1.9


def test_models_that_differ_are_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    make = audio_step.both_models

    def changed(size: tuple[int, int, int], stride: int) -> tuple[Any, Any]:
        theirs, ours = make(size, stride)
        with torch.no_grad():
            ours.head.linear.weight[0].zero_()
        return theirs, ours

    monkeypatch.setattr(audio_step, "both_models", changed)
    with pytest.raises(RuntimeError, match="the logits differ by"):
        main(["--size", "nano", "--stride", "16", "--batch", "1", "--pairs", "2", "--parts", "dense"])
