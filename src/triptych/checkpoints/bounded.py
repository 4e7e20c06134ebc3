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

EACH = 1 << 12
"""Values that every parameter counts for at least, so that a model of 10^9 empty layers ends, too."""


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
    with _no_larger(4 * sum(tensor.numel() for tensor in state.values()) + SPARE, source):
        try:
            return build(_offline(config), (*MODEL_PACKAGES, *allow))
        except (MemoryError, OverflowError, RecursionError) as error:
            raise UserError(f"the config of {source} describes a model that cannot be built: {error!r:.200}") from error


@contextmanager
def _no_larger(most: int, source: object) -> Iterator[None]:
    """Ends the making of modules of more than so many values."""
    count = 0

    def look(module: nn.Module, name: str, tensor: Tensor | None) -> None:
        nonlocal count
        count += EACH if tensor is None else max(EACH, tensor.numel())
        if count > most:
            raise UserError(
                f"the config of {source} describes a model of more than {most:,} values, which the weights beside it "
                "could not fill: it is damaged, or a trap"
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
