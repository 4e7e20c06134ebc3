"""What makes a model's input of what a loader brings, on the device."""

from typing import Any, Protocol, runtime_checkable

from torch import Tensor

from triptych.features.uneven import Uneven


@runtime_checkable
class FrontEnd(Protocol):
    """Called on the raw samples of a batch, such as uint8 pixels or waveforms; gives normalised float32.

    Attributes:
        modality: the key of a batch under which the raw samples lie, and the name of the tower that reads them.
    """

    @property
    def modality(self) -> str: ...

    def __call__(self, raw: Any, /) -> Any: ...


def as_type(made: Any, dtype: Any) -> Any:
    """A tensor or an `Uneven` batch as numbers of another type."""
    return made.type_as(dtype) if isinstance(made, Uneven) else made.to(dtype) if isinstance(made, Tensor) else made
