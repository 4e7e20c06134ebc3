"""The vision tower: images to patches to tokens to an embedding (Dosovitskiy et al., 2020, "ViT")."""

from collections.abc import Callable, Sequence

from jaxtyping import Float
from torch import Tensor, nn

from triptych.features.mixed_images import MixedImages
from triptych.nn.drop import PatchDropout
from triptych.nn.init import LinearInit, glorot
from triptych.nn.layout import SequenceLayout
from triptych.nn.mixers.base import Mixer
from triptych.nn.patch import PatchEmbedding, Size, height_width
from triptych.nn.pool import Pool
from triptych.nn.position import Position, TokenGrid
from triptych.towers.output import TowerOutput
from triptych.towers.patches import PatchTower

Images = Float[Tensor, "batch channels height width"]


class VisionTower(PatchTower):
    """A ViT, composed of parts.

    The factories are called as ``patch(dim)``, ``mixer(dim)``, ``feedforward(dim)``, ``norm(dim)``,
    ``position(TokenGrid)`` and ``pool(dim, norm)``. ``image_size`` (pixels, one number or height and width) is what
    positions are built for; images of any other size that patches cover are taken too, positions resampled.
    ``input_norm`` is a norm factory for what enters the first block, as CLIP has it; None for no norm there.
    ``registers`` are learned tokens beside the class token (Darcet et al., 2023), which the pool asks for.
    ``layer_scale``, ``stochastic_depth``: see `Stack`; ``patch_dropout``: the share of patches left out in training.
    ``init`` starts the weights of linear maps: see `triptych.nn.init`.

    Raises ValueError where parts do not fit each other.
    """

    def __init__(
        self,
        image_size: Size,
        dim: int,
        depth: int,
        patch: Callable[[int], PatchEmbedding],
        mixer: Callable[[int], Mixer],
        feedforward: Callable[[int], nn.Module],
        norm: Callable[[int], nn.Module],
        position: Callable[[TokenGrid], Position],
        pool: Callable[[int, Callable[[int], nn.Module]], Pool],
        registers: int = 0,
        layer_scale: float | None = None,
        stochastic_depth: float = 0.0,
        patch_dropout: float = 0.0,
        init: LinearInit = glorot,
        input_norm: Callable[[int], nn.Module] | None = None,
    ) -> None:
        size = height_width(image_size)
        super().__init__(
            size, dim, depth, patch(dim), mixer, feedforward, norm, position, pool, registers, layer_scale,
            stochastic_depth, PatchDropout(patch_dropout), init, input_norm,
        )  # fmt: skip
        self.image_size = size

    def forward(self, images: Images | Sequence[Float[Tensor, "channels _ _"]]) -> TowerOutput:
        """Images, float and normalised, to tokens and their pooled embedding.

        A sequence of images ``(channels, height, width)`` of differing sizes runs packed, without padding, and
        `MixedImages` by the route that they name.
        """
        return self.run(*self.embed(images))

    def intermediates(self, images: Images | Sequence[Float[Tensor, "channels _ _"]]) -> list[Tensor]:
        """The tokens after each block, normalised as the final ones are; the last entry is `forward`'s ``tokens``."""
        return self.stack.intermediates(*self.embed(images))

    def grids(self, images: Images | Sequence[Float[Tensor, "channels _ _"]]) -> list[tuple[int, int]]:
        """Rows and columns of the patches of each image."""
        return [self.patch.grid((image.shape[-2], image.shape[-1])) for image in images]

    def embed(
        self, images: Images | Sequence[Float[Tensor, "channels _ _"]]
    ) -> tuple[Float[Tensor, "*batch dim"], SequenceLayout]:
        """The tokens that enter the stack, prefix tokens first, and their layout."""
        if isinstance(images, Tensor):
            return self.embed_dense(images)
        x, layout = self.embed_packed(images)
        if not isinstance(images, MixedImages) or images.native.route == "packed":
            return x, layout
        return layout.unpack(x), layout.to_padded()
