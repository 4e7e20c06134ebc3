"""The bench of a CLIP's training step: it compares one model with itself, and counts work for real tokens only."""

import random
import re
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

pytest.importorskip("open_clip")

from bench import contrastive_step
from bench.contrastive_step import CONTEXT, SIZES, Sides, draw_ids, draw_lengths, main
from triptych.features.clip_tokenizer import ClipTokenizer
from triptych.towers.text import lengths_by_end

pytestmark = pytest.mark.slow


def test_captions_are_as_long_as_those_of_pictures() -> None:
    lengths = draw_lengths(5000, random.Random(0))
    assert sum(lengths) / len(lengths) == pytest.approx(12, abs=0.2)
    assert min(lengths) >= 3
    assert 25 < max(lengths) <= CONTEXT
    few = lengths[:20]
    assert lengths_by_end(draw_ids(few, random.Random(1)), ClipTokenizer.end_token).tolist() == few


def test_a_step_does_two_thirds_of_open_clips_work() -> None:
    """Forward and backward, at the proportions of ViT-B/32, in the operations of matrix products."""
    sides = Sides(SIZES["tiny"], 8, torch.device("cpu"), "fp32")
    assert sides.difference() <= 1e-5
    counted = []
    for loss in (sides.theirs_of_loss, sides.ours_of_loss):
        with FlopCounterMode(display=False) as counter:
            loss().backward()
        counted.append(counter.get_total_flops())
    assert counted[0] / counted[1] >= 1.5
    scales = [model.logit_scale.grad for model in (sides.theirs, sides.ours)]
    torch.testing.assert_close(*scales, rtol=1e-4, atol=1e-6)


def test_it_prints_a_row_for_each_optimizer_of_the_peer(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--size", "tiny", "--batch", "2", "--pairs", "2"])
    rows = re.findall(
        r"^tiny +2 +\d+\.\d +\d\.\de-\d\d +(as trained|fused) +(\d+\.\d+) \(", capsys.readouterr().out, re.M
    )
    assert [name for name, _ in rows] == ["as trained", "fused"]
    assert all(float(ratio) > 0 for _, ratio in rows)


def test_models_that_differ_are_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    make = contrastive_step.both_models

    def changed(size: tuple[int, ...]) -> tuple[torch.nn.Module, Any]:
        theirs, ours = make(size)
        with torch.no_grad():
            ours.get_parameter("projections.text.weight")[0].zero_()
        return theirs, ours

    monkeypatch.setattr(contrastive_step, "both_models", changed)
    with pytest.raises(RuntimeError, match="the embeddings differ by"):
        main(["--size", "tiny", "--batch", "2", "--pairs", "2"])
