"""What a data set is to the loader: samples by number. Every kind of storage hides behind this protocol."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Protocol, runtime_checkable

import torch
from PIL import Image
from torch import Tensor

from triptych.errors import UserError

Picture = Tensor | Image.Image
Label = int | Tensor


class BadSample(Exception):
    """One sample cannot be read. The run skips, counts and names it, and goes on; the message is the reason alone."""


@runtime_checkable
class Source(Protocol):
    """A map-style data set. It is copied to loader workers, so it holds no open state that a fork would share.

    Attributes:
        classes: class names; a label is a place in this list.
        multilabel: labels are float32 vectors with one place a class, not single classes.
    """

    @property
    def classes(self) -> list[str]: ...

    @property
    def multilabel(self) -> bool: ...

    def __len__(self) -> int: ...

    def read(self, index: int) -> tuple[Picture, Label]:
        """Image, uint8 `(channels, height, width)` or PIL, and label of sample `index`.

        Raises:
            BadSample: this one sample cannot be read.
        """
        ...

    def name(self, index: int) -> str:
        """Where sample `index` lies, for messages."""
        ...


@runtime_checkable
class Targets(Source, Protocol):
    """A source that knows its labels by themselves."""

    def target(self, index: int) -> Label:
        """Label of sample `index`, without a look at its image.

        Raises:
            BadSample: it cannot be read.
        """
        ...


@runtime_checkable
class EncodedSource(Targets, Protocol):
    """A source whose images are files of a known format, be it within a larger file."""

    def encoded(self, index: int) -> bytes:
        """The image file of sample `index` as it was stored.

        Raises:
            BadSample: it cannot be read.
        """
        ...


SourceFactory = Callable[..., Source]


def with_root(root: str | None, factory: SourceFactory) -> SourceFactory:
    """A source's factory that is given the folder of the data, where there is one and it names none of its own.

    Raises:
        UserError: the source needs a folder, and there is none.
    """
    if not callable(factory):
        raise UserError(
            f"a set of data is a {type(factory).__name__}; expected what makes a source, with _partial_: true"
        )
    if isinstance(factory, partial) and "root" in factory.keywords:
        if factory.keywords["root"] is not None:
            return factory  # it names its own
        rest = {name: value for name, value in factory.keywords.items() if name != "root"}
        factory = partial(factory.func, *factory.args, **rest)
    if root is not None:
        return partial(factory, root=root)
    parameter = inspect.signature(factory).parameters.get("root")
    if parameter is not None and parameter.default is parameter.empty:
        raise UserError("data.root is not set: give the folder of the data, data.root=FOLDER")
    return factory


def with_setting(factory: SourceFactory, name: str, value: Any) -> SourceFactory:
    """A source's factory that is given a setting, where it takes one of that name and has none of its own."""
    if isinstance(factory, partial) and factory.keywords.get(name) is not None:
        return factory
    if isinstance(factory, partial) and isinstance(sources := factory.keywords.get("sources"), Mapping):
        # A mixture passes it on.
        return partial(factory, sources={key: with_setting(each, name, value) for key, each in sources.items()})
    if name not in inspect.signature(factory).parameters:
        return factory
    if isinstance(factory, partial):
        rest = {key: given for key, given in factory.keywords.items() if key != name}
        factory = partial(factory.func, *factory.args, **rest)
    return partial(factory, **{name: value})


class Relabelled:
    """A source whose labels are moved, by class *name*, to the places that another list of classes gives them.

    A class that one split lacks must not shift the labels of the others.

    Args:
        source: the data set to relabel; its classes must all be among `classes`.
        classes: the list that labels shall refer to.
    """

    def __init__(self, source: Source, classes: Sequence[str]) -> None:
        self.source = source
        self.classes = list(classes)
        self.multilabel = source.multilabel
        place = {name: index for index, name in enumerate(classes)}
        self._places = torch.tensor([place[name] for name in source.classes])

    def __len__(self) -> int:
        return len(self.source)

    def read(self, index: int) -> tuple[Picture, Label]:
        """Image as it is, label in the places of `classes`."""
        image, label = self.source.read(index)
        if isinstance(label, Tensor):
            moved = torch.zeros(len(self.classes))
            moved[self._places] = label
            return image, moved
        return image, int(self._places[label])

    def name(self, index: int) -> str:
        """Name that the source itself gives."""
        return self.source.name(index)
