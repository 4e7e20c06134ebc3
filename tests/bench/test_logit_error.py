"""Logits under bfloat16 autocast: ours are right to a thousandth where open_clip's are not."""

import pytest
import torch

pytest.importorskip("open_clip")

from bench.logit_error import errors


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
def test_ours_are_right_to_a_thousandth_and_open_clips_are_not(kind: torch.dtype) -> None:
    theirs, ours = errors(128, 256, kind)
    assert ours <= 1e-3
    assert theirs > 0.1
