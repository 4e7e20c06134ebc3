"""What the stages of a pipeline save and take up again: the names and places of the whole model."""

from collections.abc import Mapping
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.optim import Optimizer

from triptych.parallel.optimizer_state import State, part
from triptych.parallel.pieces import LAYOUTS, Layout, Part, layout_of


def absent(tensor: Tensor) -> Part:
    """A tensor that another stage has, as a save lists it here."""
    return Part(torch.empty(0, dtype=tensor.dtype), Layout(tuple(tensor.shape), (0,), (), writes=False))


class Whole:
    """The tensors of a model by name, all and those that are left, before and after it was cut into stages.

    Args:
        model: before it is cut.
    """

    def __init__(self, model: nn.Module) -> None:
        self._all = {name: absent(tensor) for name, tensor in model.state_dict().items()}

    def parts(self, here: Mapping[str, Tensor], writes: bool, prefix: str = "") -> dict[str, Any]:
        """Tensors of this stage, by their names after `prefix`, as parts of those of all stages, in the order of the
        whole.
        """
        found: dict[str, Any] = {
            f"{prefix}{name}": Part(here[f"{prefix}{name}"], layout_of(here[f"{prefix}{name}"], None, writes))
            if f"{prefix}{name}" in here
            else other
            for name, other in self._all.items()
        }
        return found | {key: tensor for key, tensor in here.items() if key not in found}

    def keep(self, saved: dict[str, Any], here: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
        """What of a whole save is this stage's."""
        gone = {f"{prefix}{name}" for name in self._all} - {f"{prefix}{name}" for name in here}
        return {key: value for key, value in saved.items() if key not in gone}


class StagePlaces:
    """The parameters of an optimizer by their places in that of one process with the whole model; makes the optimizer
    one over this stage's.

    Args:
        optimizer: over the whole model; its groups stay, so rates and settings are told alike in all stages, though
            one may be empty here.
        kept: the parameters that this stage has.
    """

    def __init__(self, optimizer: Optimizer, kept: set[int]) -> None:
        self._optimizer = optimizer
        self._counts = [len(group["params"]) for group in optimizer.param_groups]
        everyone = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        self._here = [place for place, parameter in enumerate(everyone) if id(parameter) in kept]
        for group in optimizer.param_groups:
            group["params"] = [parameter for parameter in group["params"] if id(parameter) in kept]

    def of_all(self, state: State, group: dist.ProcessGroup) -> State:
        """`Optimizer.state_dict()` of this stage as that of one process: its tensors are parts. All stages must ask."""
        own = {}
        for place, parameter, number in self._own():
            if (found := state["state"].get(number)) is not None:
                own[place] = {key: part(value, LAYOUTS[parameter].own) for key, value in found.items()}
        told: list[Any] = [None] * group.size()
        listed = {place: {key: _listed(value) for key, value in entry.items()} for place, entry in own.items()}
        dist.all_gather_object(told, listed, group)
        entries = {place: entry for stage in told for place, entry in stage.items()} | own
        groups, place = [], 0
        for saved, count in zip(state["param_groups"], self._counts, strict=True):
            groups.append(saved | {"params": list(range(place, place + count))})
            place += count
        return {"state": dict(sorted(entries.items())), "param_groups": groups}

    def of_here(self, state: State) -> State:
        """The inverse of `of_all`."""
        entries = {
            number: {key: value.to(parameter.device) if _like(value, parameter) else value
                     for key, value in state["state"][place].items()}
            for place, parameter, number in self._own() if place in state["state"]
        }  # fmt: skip
        groups, number = [], 0
        for saved, group in zip(state["param_groups"], self._optimizer.param_groups, strict=True):
            count = len(group["params"])
            groups.append(saved | {"params": list(range(number, number + count))})
            number += count
        return {"state": entries, "param_groups": groups}

    def _own(self) -> list[tuple[int, Tensor, int]]:
        """Place in the whole, parameter, place here."""
        parameters = [parameter for group in self._optimizer.param_groups for parameter in group["params"]]
        return [(place, parameter, number) for number, (place, parameter) in
                enumerate(zip(self._here, parameters, strict=True))]  # fmt: skip


def _listed(value: Any) -> Any:
    """What other stages list of it: the shape of a part, and anything else itself."""
    return absent(value.local) if isinstance(value, Part) else value


def _like(value: Any, parameter: Tensor) -> bool:
    return isinstance(value, Tensor) and value.shape == parameter.shape
