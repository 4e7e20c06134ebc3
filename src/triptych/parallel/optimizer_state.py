"""The state of an optimizer as that of one process with the whole model: by places that do not hang on who holds what.

Torch counts the parameters of an optimizer through its groups. Where weights are sharded, those that cannot be (scales
of one number) are in groups of their own (`split_whole`), which change the count; here they are put back.
"""

from typing import Any

from torch import Tensor
from torch.distributed.tensor import DTensor
from torch.optim import Optimizer

from triptych.parallel.pieces import LAYOUTS, Layout, Part, local

WHOLE = ".whole"
State = dict[str, Any]


def split_whole(groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Optimizer groups in which sharded and whole parameters are apart, as torch's operations on lists want them."""
    found = []
    for group in groups:
        sharded = [parameter for parameter in group["params"] if isinstance(parameter, DTensor)]
        whole = [parameter for parameter in group["params"] if not isinstance(parameter, DTensor)]
        if not sharded or not whole:
            found.append(group)
            continue
        found += [{**group, "params": sharded}, {**group, "params": whole, "name": f"{group['name']}{WHOLE}"}]
    return found


class Places:
    """The parameters of an optimizer in the order of one process with the whole model.

    Args:
        optimizer: over what is here.
        order: all parameters of the model.
    """

    def __init__(self, optimizer: Optimizer, order: list[Tensor]) -> None:
        rank = {id(parameter): place for place, parameter in enumerate(order)}
        self._here = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        names = [str(group.get("name", number)) for number, group in enumerate(optimizer.param_groups)]
        self._groups: dict[str, list[Tensor]] = {}
        for name, group in zip(names, optimizer.param_groups, strict=True):
            self._groups.setdefault(name.removesuffix(WHOLE), []).extend(group["params"])
        if any(name.endswith(WHOLE) for name in names):
            for params in self._groups.values():
                params.sort(key=lambda parameter: rank[id(parameter)])
        self._names = names
        self._there = [parameter for params in self._groups.values() for parameter in params]

    def of_all(self, state: State) -> State:
        """`Optimizer.state_dict()` here, as that of one process; its tensors are parts."""
        here = {id(parameter): number for number, parameter in enumerate(self._here)}
        entries = {}
        for place, parameter in enumerate(self._there):
            if (found := state["state"].get(here[id(parameter)])) is not None:
                layout = LAYOUTS[parameter].own
                entries[place] = {key: part(value, layout) for key, value in found.items()}
        groups, place = [], 0
        first = {name.removesuffix(WHOLE): group
                 for name, group in reversed(list(zip(self._names, state["param_groups"], strict=True)))}  # fmt: skip
        for name, params in self._groups.items():
            group = first[name] | {"params": list(range(place, place + len(params)))}
            groups.append(group | ({"name": name} if "name" in group else {}))
            place += len(params)
        return {"state": entries, "param_groups": groups}

    def of_here(self, state: State) -> State:
        """The inverse of `of_all`, from the state of the whole model: each tensor as the parameter here is."""
        there = {id(parameter): place for place, parameter in enumerate(self._there)}
        entries = {}
        for number, parameter in enumerate(self._here):
            if (found := state["state"].get(there[id(parameter)])) is not None:
                entries[number] = {key: _like(value, parameter) for key, value in found.items()}
        saved = dict(zip(self._groups, state["param_groups"], strict=True))
        groups, number = [], 0
        for name in self._names:
            count = len(self._count(name))
            group = saved[name.removesuffix(WHOLE)] | {"params": list(range(number, number + count))}
            groups.append(group | ({"name": name} if "name" in group else {}))
            number += count
        return {"state": entries, "param_groups": groups}

    def _count(self, name: str) -> list[Tensor]:
        params = self._groups[name.removesuffix(WHOLE)]
        if name.removesuffix(WHOLE) + WHOLE not in self._names:
            return params
        whole = name.endswith(WHOLE)
        return [parameter for parameter in params if isinstance(parameter, DTensor) != whole]


def part(value: Any, layout: Layout | None) -> Any:
    """A tensor as it lies over the processes, where it lies as its parameter does; anything else as it is."""
    if not isinstance(value, Tensor) or layout is None:
        return value
    here = local(value)
    return Part(here, layout) if tuple(here.shape) == layout.local_shape else here


def _like(value: Any, parameter: Tensor) -> Any:
    layout = LAYOUTS[parameter].own
    if not isinstance(value, Tensor) or tuple(value.shape) != layout.shape:
        return value
    here = layout.local_of(value, value.to(local(parameter).device))
    if not isinstance(parameter, DTensor):
        return here
    return DTensor.from_local(
        here, parameter.device_mesh, parameter.placements, run_check=False,
        shape=parameter.shape, stride=parameter.stride(),
    )  # fmt: skip
