"""Muon for the matrices of linear maps and AdamW for everything else, as one optimizer.

Muon (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/) moves a matrix along its momentum with all
singular values set to about 1 (`polar`). Rates are scaled as in Moonlight (Liu et al. 2025, "Muon is Scalable for LLM
Training"), so that an update is as large as AdamW's: both take one `lr` and one `weight_decay`.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from triptych.errors import UserError
from triptych.nn.linear import FusedLinear
from triptych.optim import foreach
from triptych.optim.adamw import check_adam, choose_fused
from triptych.optim.groups import check_groups, parameter_groups
from triptych.optim.layers import split_by_layer
from triptych.optim.polar import orthogonalise
from triptych.parallel.optimizer_state import split_whole
from triptych.parallel.pieces import LAYOUTS, gather_whole, local

GATHERED = 1 << 28
"""Bytes of matrices that are whole in one process at a time, where processes hold shares of them."""


def muon(
    model: nn.Module,
    lr: float = 1e-3,
    weight_decay: float = 0.05,
    momentum: float = 0.95,
    nesterov: bool = True,
    ns_steps: int = 5,
    betas: Sequence[float] = (0.9, 0.95),
    eps: float = 1e-8,
    fused: bool | None = None,
    adamw_lr: float | None = None,
    layer_decay: float = 1.0,
) -> "MuonAdamW":
    """Muon over the weights of the model's linear maps, AdamW over the rest (tables, kernels, all vectors).

    `betas`, `eps`, `fused` and `adamw_lr` (None: `lr`) are AdamW's, `momentum`, `nesterov` and `ns_steps` Muon's. The
    groups are named `muon`, `decay`, `no_decay`. `layer_decay` below 1 lets layers near the input learn more slowly
    (`triptych.optim.layers`).
    """
    check_adam(lr, betas, eps, weight_decay)
    if adamw_lr is not None and not adamw_lr > 0:
        raise UserError(f"optimizer.adamw_lr is {adamw_lr}, but must be above 0; null takes optimizer.lr, {lr}")
    if not 0 <= momentum < 1:
        raise UserError(f"optimizer.momentum is {momentum}, but must be at least 0 and below 1")
    if not 1 <= ns_steps < 100:
        raise UserError(f"optimizer.ns_steps is {ns_steps}, but must be at least 1 and below 100")
    matrices = matrices_of(model)
    groups = []
    for group in parameter_groups(model, weight_decay):
        kept = [parameter for parameter in group["params"] if group["name"] != "decay" or parameter not in matrices]
        hidden = [parameter for parameter in group["params"] if group["name"] == "decay" and parameter in matrices]
        groups += [
            {**group, "name": name, "params": params} for name, params in (("muon", hidden), (group["name"], kept))
        ]
    groups = [group for group in groups if group["params"]]
    check_groups(model, groups)
    hidden = [group for group in groups if group["name"] == "muon"]
    rest = [group for group in groups if group["name"] != "muon"]
    if not hidden:
        raise UserError(f"optimizer muon: {type(model).__name__} has no trainable linear map; take adamw")
    if not rest:
        raise UserError(f"optimizer muon: {type(model).__name__} has nothing trainable beside linear maps")
    parameters = [parameter for group in rest for parameter in group["params"]]
    rest_lr = lr if adamw_lr is None else adamw_lr
    hidden = split_by_layer(model, hidden, lr, layer_decay)
    rest = split_whole(split_by_layer(model, rest, rest_lr, layer_decay))
    return MuonAdamW(
        BatchedMuon(hidden, matrices, lr=lr, momentum=momentum, nesterov=nesterov, ns_steps=ns_steps),
        torch.optim.AdamW(
            rest,
            lr=rest_lr,
            betas=(betas[0], betas[1]),
            eps=eps,
            fused=choose_fused(parameters, fused) or None,
        ),
    )


def matrices_of(model: nn.Module) -> dict[Tensor, list[int]]:
    """The weight of each linear map of `model`, with the rows of the matrices that are stacked in it.

    A fused query-key-value or gate-up weight is several maps that share nothing but their input, so each is one
    matrix to Muon: orthogonalised together, the one with the largest gradient would leave the others almost still.
    The patch embedding and the head are linear maps too: with AdamW instead they learned more slowly here (57.1
    against 59.7% on the held-out emoji style after three epochs). Tables (positions, tokens) are no maps.
    """
    matrices: dict[Tensor, list[int]] = {}
    for module in model.modules():
        if isinstance(module, nn.Linear):
            rows = module.splits if isinstance(module, FusedLinear) else [len(module.weight)]
            # A tensor-parallel process has a share of each matrix.
            whole = LAYOUTS[module.weight].own.shape[0] if module.weight in LAYOUTS else sum(rows)
            matrices[module.weight] = [each * whole // sum(rows) for each in rows]
    return matrices


class BatchedMuon(Optimizer):
    """Muon over matrices that may be stacked by rows in one parameter; all matrices of one shape are one batch.

    The direction is found in bfloat16 on a GPU and in float32 on a CPU: one without bfloat16 units is hundreds of
    times slower in bfloat16.
    """

    def __init__(
        self,
        groups: list[dict[str, Any]],
        rows: dict[Tensor, list[int]],
        lr: float,
        momentum: float,
        nesterov: bool,
        ns_steps: int,
    ) -> None:
        settings = {"lr": lr, "weight_decay": 0.0, "momentum": momentum, "nesterov": nesterov, "ns_steps": ns_steps}
        super().__init__(groups, settings)
        self._rows = rows

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One update of every matrix that has a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            parameters = [parameter for parameter in group["params"] if parameter.grad is not None]
            if not parameters:
                continue
            gradients = [local(parameter.grad) for parameter in parameters if parameter.grad is not None]
            for parameter in parameters:
                if not self.state[parameter]:
                    self.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
            buffers = [local(self.state[parameter]["momentum_buffer"]) for parameter in parameters]
            foreach.lerp_(buffers, gradients, 1 - group["momentum"])
            updates = foreach.lerp(gradients, buffers, group["momentum"]) if group["nesterov"] else buffers
            foreach.mul_([local(parameter) for parameter in parameters], 1 - group["lr"] * group["weight_decay"])
            rows = [self._rows[parameter] for parameter in parameters]
            if parameters[0] in LAYOUTS:
                self._apply_shared(group, parameters, rows, updates)
            else:
                self._apply(group, parameters, rows, updates)
        return loss

    def _apply_shared(
        self, group: dict[str, Any], parameters: list[Tensor], rows: list[list[int]], updates: Sequence[Tensor]
    ) -> None:
        """Where processes hold shares of the matrices: the direction is that of a whole one, so updates are gathered,
        some matrices at a time, and each process takes its share of what they come to.
        """
        for run in _runs(parameters):
            wholes = gather_whole(parameters[run], updates[run])
            steps = [torch.zeros_like(whole) for whole in wholes]
            self._apply(group, steps, rows[run], wholes)
            for parameter, step in zip(parameters[run], steps, strict=True):
                here = local(parameter)
                here.add_(LAYOUTS[parameter].own.local_of(step, here))

    def _apply(
        self, group: dict[str, Any], parameters: Sequence[Tensor], rows: list[list[int]], updates: Sequence[Tensor]
    ) -> None:
        batches: dict[tuple[Any, ...], list[tuple[Tensor, Tensor]]] = defaultdict(list)
        for parameter, splits, update in zip(parameters, rows, updates, strict=True):
            for matrix, step in zip(parameter.split(splits), update.split(splits), strict=True):
                batches[(matrix.shape, matrix.device, matrix.dtype)].append((matrix, step))
        for (shape, device, _), pairs in batches.items():
            stacked = torch.stack([step for _, step in pairs])
            dtype = torch.float32 if device.type == "cpu" else torch.bfloat16
            directions = orthogonalise(stacked.to(dtype), group["ns_steps"]).to(stacked.dtype)
            # As large as an AdamW update (Moonlight): the mean square of an orthogonal direction is 1 / longer side.
            directions.mul_(-group["lr"] * 0.2 * math.sqrt(max(shape)))
            foreach.add_([matrix for matrix, _ in pairs], list(directions.unbind()))


def _runs(parameters: Sequence[Tensor]) -> Iterator[slice]:
    """Neighbours whose matrices take at most `GATHERED` bytes together, or one larger one."""
    start, size = 0, 0
    for number, parameter in enumerate(parameters):
        more = math.prod(LAYOUTS[parameter].own.shape) * parameter.element_size()
        if number > start and size + more > GATHERED:
            yield slice(start, number)
            start, size = number, 0
        size += more
    yield slice(start, len(parameters))


class MuonAdamW(Optimizer):
    """Two optimizers as one: their groups and states are its own, so schedules and checkpoints see one optimizer."""

    def __init__(self, muon: BatchedMuon, adamw: torch.optim.AdamW) -> None:
        self._parts: tuple[Optimizer, ...] = (muon, adamw)
        super().__init__([*muon.param_groups, *adamw.param_groups], defaults={})
        self._share()
        self._complete = True

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Refused with TypeError: a group that is added later belongs to neither part, and would never move."""
        if getattr(self, "_complete", False):
            raise TypeError("MuonAdamW takes no further parameter groups; build it with muon(model) once all train")
        super().add_param_group(param_group)

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step of both; the closure runs once, before them."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for part in self._parts:
            part.step()
        return loss

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Loads both; the parts go on with the loaded groups and state."""
        super().load_state_dict(state_dict)
        self._share()

    def _share(self) -> None:
        start = 0
        for part in self._parts:
            count = len(part.param_groups)
            part.param_groups = self.param_groups[start : start + count]
            part.state = self.state
            start += count
