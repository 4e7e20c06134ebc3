"""Layer-wise learning rates: the nearer to the input, the smaller (Clark et al., 2020, "ELECTRA"; Bao et al., 2021,
"BEiT").

Layer 0 is everything before the blocks (patches, positions, tokens), layers 1 to `depth` are the blocks, the last one
with the norm after it, and layer `depth + 1` is what follows (pool, head). A layer learns at `decay ** (depth + 1 -
layer)` times the rate, as timm's `param_groups_layer_decay` has it. The rate is each group's own `lr`, so that every
scheduler keeps the ratios; a frozen layer counts like any other.
"""

from typing import Any

from torch import nn

from triptych.errors import UserError
from triptych.nn.stack import Stack


def distances(model: nn.Module) -> dict[str, int]:
    """How many layers lie between each parameter of `model`, by name, and the head.

    Raises UserError for a model without a stack of blocks.
    """
    depths = {path: len(module.blocks) for path, module in model.named_modules() if isinstance(module, Stack)}
    if not depths:
        raise UserError(
            f"layer decay tells layers by blocks, but {type(model).__name__} has none; choose another strategy"
        )
    return {name: _distance(name, depths) for name, _ in model.named_parameters(remove_duplicate=False)}


def _distance(name: str, depths: dict[str, int]) -> int:
    for path, depth in depths.items():
        tower = path.removesuffix("stack")
        if name.startswith(f"{path}."):
            part, number, *_ = name.removeprefix(f"{path}.").split(".")
            return depth - int(number) if part == "blocks" else 1
        if name.startswith(tower) and not name.removeprefix(tower).startswith(("pool.", "head.")):
            return depth + 1
    return 0


def split_by_layer(model: nn.Module, groups: list[dict[str, Any]], lr: float, decay: float) -> list[dict[str, Any]]:
    """The optimizer groups cut by layer, each with its own `lr`; as they are where `decay` is 1.

    Names get the distance from the head: `decay.0` is the head's. Raises UserError for a decay outside (0, 1], and for
    a model without a stack of blocks.
    """
    if not 0 < decay <= 1:
        raise UserError(f"the layer decay is {decay}, but must be above 0 and at most 1")
    if decay == 1:
        return groups
    by_name = distances(model)
    distance_of = {id(parameter): by_name[name] for name, parameter in model.named_parameters()}
    cut = []
    for group in groups:
        for distance in sorted({distance_of[id(parameter)] for parameter in group["params"]}):
            params = [parameter for parameter in group["params"] if distance_of[id(parameter)] == distance]
            name = f"{group['name']}.{distance}"
            cut.append({**group, "name": name, "params": params, "lr": lr * decay**distance})
    return cut
