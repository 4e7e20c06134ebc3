"""What the files of a data set hold: pictures here, sounds in `triptych.data.sound`."""

from typing import Protocol, runtime_checkable

from torch import Tensor

from triptych.data.decode import EXTENSIONS, decode_image


@runtime_checkable
class Medium(Protocol):
    """Knows which files are of its kind, what to call them, and how to decode them.

    Attributes:
        one: what one is called in messages.
        many: what several are called.
        extensions: endings of file names, lower case, without the dot.
        feature: the feature of the library `datasets` that holds them.
    """

    @property
    def one(self) -> str: ...
    @property
    def many(self) -> str: ...
    @property
    def extensions(self) -> tuple[str, ...]: ...
    @property
    def feature(self) -> str: ...

    def decode(self, data: bytes) -> Tensor:
        """A file's content as a tensor; BadSample where it cannot be read."""
        ...


class Pictures:
    """Images, decoded to uint8 `(channels, height, width)`; `channels` is 3 for RGB, 1 for grey."""

    one, many, extensions, feature = "image", "images", EXTENSIONS, "Image"

    def __init__(self, channels: int = 3) -> None:
        self.channels = channels

    def decode(self, data: bytes) -> Tensor:
        """See `decode_image`."""
        return decode_image(data, self.channels)
