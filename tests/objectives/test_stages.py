"""Which trainings can be those of a pipeline."""

from functools import partial

import pytest
from torch import nn

from triptych.errors import UserError
from triptych.features.pixels import Pixels
from triptych.objectives.classification import ClassificationObjective
from triptych.objectives.probe import ProbeObjective
from triptych.objectives.stages import check_stages
from triptych.optim.adamw import adamw
from triptych.optim.schedule import cosine


def make(kind: type[ClassificationObjective]) -> ClassificationObjective:
    return kind(nn.Linear(2, 3), adamw, partial(cosine, warmup=0.0), 3, Pixels([0.5], [0.5]))


def test_a_probe_needs_a_whole_tower() -> None:
    with pytest.raises(UserError, match=r"ProbeObjective keeps what the tower gives, and with trainer.pipeline=2 no"):
        check_stages(make(ProbeObjective), 2, "auto")


def test_a_scaled_loss_is_not_built() -> None:
    with pytest.raises(UserError, match=r"trainer.precision=16-mixed scales a loss .* trainer.pipeline=3 stages"):
        check_stages(make(ClassificationObjective), 3, "16-mixed")


def test_a_model_that_has_no_blocks() -> None:
    with pytest.raises(
        UserError, match=r"trainer.pipeline=2 cuts towers between their blocks, but Linear has no tower"
    ):
        check_stages(make(ClassificationObjective), 2, "auto")
