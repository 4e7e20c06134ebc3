"""States of strangers' runs: what the optimizer, the schedule, the data and the callbacks would go on from."""

from typing import Any

import pytest
import torch

from triptych.callbacks.checkpointing import Checkpointing
from triptych.data.module import ImageData
from triptych.errors import UserError
from triptych.optim.schedule import FactorSchedule
from triptych.resume import check_state

from .corpus import Scene, refused

WEIGHTS = [torch.nn.Parameter(torch.ones(2, 3)), torch.nn.Parameter(torch.ones(3))]


def stepped() -> torch.optim.AdamW:
    """After one step."""
    made = torch.optim.AdamW(WEIGHTS)
    for weight in WEIGHTS:
        weight.grad = torch.ones_like(weight)
    made.step()
    return made


def moment(value: Any) -> dict[str, Any]:
    return {"state": {0: {"step": torch.tensor(1.0), "exp_avg": value, "exp_avg_sq": torch.ones(2, 3)}}}


def group(**changed: Any) -> dict[str, Any]:
    return {"param_groups": [stepped().state_dict()["param_groups"][0] | changed]}


LIES: dict[str, dict[str, Any]] = {
    "a moment of another shape": moment(torch.ones(3, 2)),
    "a moment that would be stretched": moment(torch.ones(1)),
    "a moment that is a text": moment("os.system"),
    "moments that are none": {"state": {0: 3}},
    "no state": {"state": [1]},
    "a rate that is a text": group(lr="1e-3"),
    "decay that is a list": group(weight_decay=[1]),
    "one beta": group(betas=(0.9,)),
    "betas that are texts": group(betas=("a", "b")),
    "an epsilon of many values": group(eps=torch.ones(2)),
}


@pytest.mark.parametrize("lie", LIES)
def test_an_optimizers_state_that_lies_is_told(lie: str) -> None:
    optimizer = stepped()
    check_state("run", optimizer.state_dict(), optimizer)
    with pytest.raises(UserError) as error:
        check_state("run", optimizer.state_dict() | LIES[lie], optimizer)
    refused(error, "run has an optimizer whose state does not fit its weights")


@pytest.mark.parametrize("step", [None, "3", -1, 2.5, True, [3], float("inf")])
def test_a_place_that_is_none_is_told(step: Any) -> None:
    schedule = FactorSchedule(stepped(), lambda at: 1.0)
    data = ImageData.__new__(ImageData)
    for part in (schedule, data):
        with pytest.raises(UserError) as error:
            part.load_state_dict({"step": step})
        refused(error, "the checkpoint's place in the", "which is no number of steps")


@pytest.mark.parametrize("state", [{}, {"saved": 3}, {"saved": ["step_0000001"]}])
def test_saves_that_are_none_are_told(state: dict[str, Any], scene: Scene) -> None:
    callback = Checkpointing(every_steps=1, folder=scene.here)
    with pytest.raises(UserError) as error:
        callback.load_state_dict(state)
    refused(error, "does not say which saves there are")
