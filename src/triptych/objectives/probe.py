"""A linear probe: the head learns from features of a tower that stands still."""

from typing import Any, cast

import torch
from torch import Tensor

from triptych.objectives.batch import Batch
from triptych.objectives.classification import ClassificationObjective

NO_SAMPLE = -1


class ProbeObjective(ClassificationObjective):
    """Classification by the head alone. The tower sees each sample once; its features, `dim` floats for each sample of
    every set, are kept in memory.

    The model has `embed(images)` and `head`; images must come the same each time, so there is neither augmentation nor
    mixing. Arguments and metrics: `ClassificationObjective`.
    """

    in_stages = False
    _features: dict[tuple[str, int], Tensor]

    def setup(self, stage: str) -> None:
        """No features are known yet."""
        self._features = {}

    def logits(self, batch: Batch, source: str) -> Tensor:
        """What the head says of the samples."""
        model = cast(Any, self.model)
        keys = [(source, index) for index in batch["index"].tolist()]
        rows = [row for row, key in enumerate(keys) if key not in self._features]
        if rows:
            with torch.no_grad():
                found = model.embed(self.normalise(self.raw(batch)[rows])).cpu()
            self._features.update(zip([keys[row] for row in rows], found, strict=True))
        features = torch.stack([self._features[key] for key in keys])
        self._features.pop((source, NO_SAMPLE), None)
        return model.head(features.to(self.raw(batch).device))

    def blank(self, batch: Batch) -> Batch:
        """A sample whose features are not kept."""
        return {**super().blank(batch), "index": torch.full((1,), NO_SAMPLE)}
