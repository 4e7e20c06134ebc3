"""The contrastive model that `triptych zero_shot` is given, and what it makes of images and texts."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from triptych.checkpoints.load import load
from triptych.errors import UserError
from triptych.evaluation.given import checkpoint_at
from triptych.evaluation.inference import AUTOCAST
from triptych.features.audio_preprocess import AudioPreprocess
from triptych.features.preprocess import Preprocess
from triptych.models.classifier import Inputs
from triptych.models.contrastive import Contrastive
from triptych.models.zero_shot import class_embeddings, embed_texts
from triptych.parallel.ranks import Ranks

Item = TypeVar("Item")

TEXTS_AT_ONCE = 256


@dataclass(frozen=True)
class GivenPair:
    """An image and a text tower from a checkpoint.

    Args:
        model: in evaluation mode.
        path: the checkpoint that was read.
        preprocess: what it wants of its images.
    """

    model: Contrastive
    path: Path
    preprocess: Preprocess | AudioPreprocess

    @property
    def own_probabilities(self) -> bool:
        """Whether each class has a probability of its own (SigLIP), not one among those that were named."""
        return self.model.logit_bias is not None


def load_pair(checkpoint: dict[str, Any], allow: tuple[str, ...] = ()) -> GivenPair:
    """The model that the settings of a checkpoint (`path`, `weights`) name.

    Raises:
        UserError: what `triptych.load` raises; a model that has not both an image and a text tower, or no tokenizer.
    """
    path = checkpoint_at(Path(checkpoint["path"]))
    model = load(path, weights=checkpoint["weights"], allow=allow)
    if not isinstance(model, Contrastive):
        outputs = getattr(model, "num_classes", None)
        what = f"a classifier of {outputs} classes" if outputs else f"a {type(model).__name__}"
        raise UserError(
            f"{path} holds {what}, and zero_shot needs a model with an image and a text tower, such as CLIP or SigLIP: "
            "measure a classifier with `triptych evaluate` or `triptych predict`"
        )
    towers = ", ".join(model.modalities)
    if "text" not in model.modalities:
        raise UserError(f"the model in {path} has no text tower; its towers are {towers}")
    if model.perceived not in ("image", "audio"):
        raise UserError(f"the model in {path} has no tower of images or sounds; its towers are {towers}")
    if model.tokenizer is None:
        raise UserError(f"the model in {path} has no tokenizer, so no text can be put to it")
    if model.preprocess is None:
        raise UserError(f"the model in {path} does not say what it wants of its input: its preprocess is missing")
    return GivenPair(model, path, model.preprocess)


class Embedder(nn.Module):
    """The tower of images or sounds: embeddings of unit length in the space of the texts, or its own features before
    the projection, which is what probes are fitted on.
    """

    def __init__(self, model: Contrastive, projected: bool = True) -> None:
        super().__init__()
        self.model, self.projected = model, projected

    def forward(self, inputs: Inputs) -> Float[Tensor, "batch dim"]:
        """One row an image or a sound."""
        name = self.model.perceived
        return self.model.embed(name, inputs) if self.projected else self.model.towers[name](inputs).pooled


class TextForward:
    """The text tower on a device, shared among processes in whole batches that no number of processes changes.

    Args:
        model: in evaluation mode.
        device: to run on.
        precision: `32-true`, or a key of `AUTOCAST`.
        ranks: the processes.
    """

    def __init__(self, model: Contrastive, device: torch.device, precision: str, ranks: Ranks) -> None:
        self._model, self._device, self._ranks = model.to(device), device, ranks
        self._type = AUTOCAST.get(precision)

    def texts(self, texts: Sequence[str]) -> Float[Tensor, "texts dim"]:
        """Embeddings of unit length, on the CPU; equal texts are embedded once."""
        different = list(dict.fromkeys(texts))
        rows = self._shared(different, TEXTS_AT_ONCE, self._embed)
        place = {text: row for row, text in enumerate(different)}
        return rows[[place[text] for text in texts]]

    def classes(self, names: Sequence[str], templates: Sequence[str]) -> Float[Tensor, "classes dim"]:
        """One direction a class, on the CPU."""
        at_once = max(1, TEXTS_AT_ONCE // len(templates))
        return self._shared(list(names), at_once, lambda part: class_embeddings(self._embed, part, templates))

    @torch.inference_mode()
    def _embed(self, texts: list[str]) -> Tensor:
        parts = [texts[start : start + TEXTS_AT_ONCE] for start in range(0, len(texts), TEXTS_AT_ONCE)]
        with torch.autocast(self._device.type, self._type, enabled=self._type is not None):
            return torch.cat([embed_texts(self._model, part, self._device) for part in parts]).cpu()

    def _shared(self, items: list[Item], at_once: int, work: Callable[[list[Item]], Tensor]) -> Tensor:
        """`work` on parts of so many items, every `world_size`-th in this process; the rows of all, in order."""
        parts = [items[start : start + at_once] for start in range(0, len(items), at_once)]
        rank, world_size = self._ranks.rank, self._ranks.world_size
        found = self._ranks.gather(lambda: [work(part).numpy() for part in parts[rank::world_size]])
        rows = [cast(Any, found[place % world_size][place // world_size]) for place in range(len(parts))]
        return torch.cat([torch.from_numpy(each) for each in rows])
