"""Mixup of clips of differing lengths (Zhang et al., 2018): two sounds at once, drawn from the seed and the step."""

import hashlib

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from triptych.errors import UserError
from triptych.features.waveforms import Waveforms


class ClipMix(nn.Module):
    """Lays another clip of the batch over a clip, from its first sample on, and mixes their targets likewise.

    A clip keeps its own length: of a longer partner the rest is left out, a shorter one is followed by silence. Both
    are brought to mean 0 first, as AST does. The weight is drawn from a Beta distribution with `mixup` for both of its
    parameters; a share of `probability` of the clips is mixed, each by a draw of its own.

    A draw depends on the seed, the step and the place in the batch alone, so that a resumed run mixes as an unbroken
    one. Targets become rows of probabilities, for softmax and for one-class-at-a-time losses alike; AST's own mixup
    keeps class 0 alone with the former.

    Raises UserError for a setting out of its range.
    """

    of_raw, modality = True, "audio"

    def __init__(self, mixup: float = 0.3, probability: float = 0.5, seed: int = 0) -> None:
        super().__init__()
        if not mixup > 0:
            raise UserError(f"mix.mixup is {mixup}, but must be above 0; take mix=null to mix nothing")
        if not 0 <= probability <= 1:
            raise UserError(f"mix.probability is {probability}, but must be at least 0 and at most 1")
        self.mixup, self.probability, self.seed = mixup, probability, seed

    def forward(
        self,
        clips: Waveforms,
        labels: Int[Tensor, " batch"] | Float[Tensor, "batch classes"],
        num_classes: int,
        step: int,
    ) -> tuple[Waveforms, Float[Tensor, "batch {num_classes}"]]:
        """Mixed clips, and targets as rows of probabilities (mixed or not)."""
        targets = labels if labels.is_floating_point() else F.one_hot(labels.long(), num_classes).float()
        count = len(clips)
        if count < 2:
            return clips, targets
        own, partner = self._draws(count, step)
        made = [_mixed(clips[i], clips[partner[i]], own[i]) for i in range(count)]
        weight = torch.tensor(own, dtype=targets.dtype, device=targets.device)[:, None]
        others = targets[torch.tensor(partner, device=targets.device)]
        mixed = Waveforms.of(made, clips.sample_rate, clips.max_batch_samples)
        return mixed, weight * targets + (1 - weight) * others

    def _draws(self, count: int, step: int) -> tuple[list[float], list[int]]:
        """For each clip its own weight, and the number of its partner, which is another clip."""
        key = hashlib.blake2b(f"clip_mix {self.seed} {step}".encode(), digest_size=4).digest()
        state = torch.default_generator.get_state()
        try:
            torch.default_generator.manual_seed(int.from_bytes(key))
            weights = torch.distributions.Beta(self.mixup, self.mixup).sample((count,))
            weights[torch.rand(count) >= self.probability] = 1.0
            # A walk around a shuffled circle: nobody meets himself.
            circle = torch.randperm(count).tolist()
        finally:
            torch.default_generator.set_state(state)
        partner = [0] * count
        for place, clip in enumerate(circle):
            partner[clip] = circle[place - 1]
        return weights.tolist(), partner


def _mixed(clip: Float[Tensor, " samples"], other: Float[Tensor, " _"], weight: float) -> Float[Tensor, " samples"]:
    if weight == 1.0:
        return clip
    made = (clip - clip.mean()) * weight
    length = min(len(clip), len(other))
    made[:length] += (1 - weight) * (other - other.mean())[:length]
    return made
