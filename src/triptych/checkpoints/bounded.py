"""A model from a stranger's description, no larger than the weights that came with it."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.module import (
    register_module_buffer_registration_hook,
    register_module_parameter_registration_hook,
)

from triptych.build import MODEL_PACKAGES, build
from triptych.errors import UserError

SPARE = 1 << 26
"""Values that a model may have beyond its weights: what is computed and not saved, and heads that are made anew."""

MORE = 1000
"""Tensors that it may have beyond theirs."""


def build_bounded(config: Any, state: Mapping[str, Tensor], allow: tuple[str, ...] = (), source: object = "") -> Any:
    """`build` of a model's configuration from a checkpoint, stopped where it outgrows the checkpoint's weights.

    A line of JSON can describe more layers than any machine holds.

    Args:
        config: see `build`.
        state: the weights that are to fill it.
        allow: packages that it may name beside those of any checkpoint.
        source: where it is from, for messages.

    Raises:
        UserError: see `build`; or it describes a model that its weights could not fill.
    """
    with _no_larger(state, source):
        try:
            return build(_offline(config), (*MODEL_PACKAGES, *allow))
        except (MemoryError, OverflowError, RecursionError) as error:
            raise UserError(f"the config of {source} describes a model that cannot be built: {error!r:.200}") from error


@contextmanager
def _no_larger(state: Mapping[str, Tensor], source: object) -> Iterator[None]:
    """Ends the making of modules that outgrow these weights."""
    most_values = 4 * sum(tensor.numel() for tensor in state.values()) + SPARE
    most_tensors = 4 * len(state) + MORE
    values = tensors = 0

    def look(module: nn.Module, name: str, tensor: Tensor | None) -> None:
        nonlocal values, tensors
        values, tensors = values + (0 if tensor is None else tensor.numel()), tensors + 1
        if values > most_values or tensors > most_tensors:
            raise UserError(
                f"the config of {source} describes a model of more than {most_values:,} values or {most_tensors:,} "
                "tensors, far more than the weights beside it: it is damaged, or a trap"
            )

    hooks = [register_module_parameter_registration_hook(look), register_module_buffer_registration_hook(look)]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _offline(node: Any) -> Any:
    """The same without weights that would be fetched, to be overwritten by those that are here."""
    if isinstance(node, dict):
        return {key: False if key == "pretrained" and value else _offline(value) for key, value in node.items()}
    return [_offline(each) for each in node] if isinstance(node, list) else node
