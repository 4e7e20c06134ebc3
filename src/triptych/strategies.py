"""Which weights a fine-tuning trains, and how fast each."""

import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from torch import nn
from torch.optim import Optimizer

from triptych.errors import UserError
from triptych.nn.lora import add_adapters
from triptych.nn.stack import Stack

log = logging.getLogger("triptych.strategies")

CLASSIFICATION = "triptych.objectives.classification.ClassificationObjective"
CONTRASTIVE = "triptych.objectives.contrastive.ContrastiveObjective"
PROBE = "triptych.objectives.probe.ProbeObjective"

OptimizerFactory = Callable[..., Optimizer]


class Full:
    """Every weight, at one rate."""

    lr = 1.0
    """What to multiply a learning rate for all weights by."""

    def adjust(self, settings: dict[str, Any]) -> None:
        """Changes the settings of a run, in place, as far as the strategy asks for it."""

    def prepare(self, model: nn.Module) -> None:
        """Freezes or adds what the strategy says, in place, after the weights are loaded."""

    def optimizer(self, make: OptimizerFactory) -> OptimizerFactory:
        """The optimizer that the strategy wants of `make`."""
        return make

    @property
    def adapters(self) -> dict[str, Any] | None:
        """How to build what `prepare` added to the model, as a checkpoint keeps it."""
        return None


class LayerDecay(Full):
    """Every weight, the more slowly the nearer to the input: `decay` from each layer to the one below it."""

    lr = 2.0

    def __init__(self, decay: float = 0.75) -> None:
        self.decay = decay

    def optimizer(self, make: OptimizerFactory) -> OptimizerFactory:
        """With a rate for each layer."""
        return partial(make, layer_decay=self.decay)


class LowRank(Full):
    """Adapters of a small rank and the head; see `triptych.nn.lora`."""

    lr = 5.0

    def __init__(
        self, rank: int = 8, alpha: float = 16.0, dropout: float = 0.0, targets: Sequence[str] = ("qkv", "out")
    ) -> None:
        if not targets:
            raise UserError(
                "strategy.targets is empty, so that no adapter would stand anywhere: name linear maps, such as "
                "[qkv,out], or take strategy=linear_probe, which trains the head alone"
            )
        self.settings = {"rank": rank, "alpha": alpha, "dropout": dropout, "targets": list(targets)}

    def prepare(self, model: nn.Module) -> None:
        """Freezes the model and adds the adapters. Raises UserError for a rank or a target that does not fit."""
        try:
            add_adapters(model, **self.settings)
        except ValueError as error:
            raise UserError(f"strategy: {error}") from error

    @property
    def adapters(self) -> dict[str, Any]:
        return {"_target_": "triptych.nn.lora.add_adapters", "_partial_": True, **self.settings}


class LinearProbe(Full):
    """The head alone, on features that are computed once."""

    lr = 30.0

    def adjust(self, settings: dict[str, Any]) -> None:
        """No augmentation, for features are computed once, and the objective that keeps them. Raises UserError for
        mixing and for other objectives.
        """
        objective = settings["objective"]
        if objective.get("mix") is not None:
            raise UserError(
                "strategy=linear_probe keeps features, and a mixed picture has none: set objective.mix=null"
            )
        if objective["_target_"] == CONTRASTIVE:
            raise UserError(
                "strategy=linear_probe trains the head of a classifier, and contrastive towers have none: take "
                "strategy=lora, strategy=layer_decay or strategy=full, or data with labels"
            )
        if objective["_target_"] != CLASSIFICATION:
            raise UserError(
                f"strategy=linear_probe does not go with {objective['_target_']}: take objective=classification"
            )
        objective["_target_"] = PROBE
        if settings["data"]["augment"] != settings["data"]["evaluate"]:
            settings["data"]["augment"] = settings["data"]["evaluate"]
            log.info("strategy=linear_probe computes the features of each picture once: data.augment is left out")

    def prepare(self, model: nn.Module) -> None:
        """Freezes the tower, in evaluation mode."""
        tower = model.get_submodule("tower")
        tower.requires_grad_(False)
        tower.eval()


class Freeze(Full):
    """All but the embedding and the first `blocks` blocks; of contrastive towers, those of the image tower."""

    def __init__(self, blocks: int) -> None:
        self.blocks = blocks

    def prepare(self, model: nn.Module) -> None:
        """Freezes what comes before block `blocks`, in evaluation mode. Raises UserError where there are fewer."""
        tower = _image_tower(model)
        stack = tower.get_submodule("stack") if "stack" in dict(tower.named_children()) else None
        if not isinstance(stack, Stack):
            raise UserError(
                f"strategy=freeze counts blocks, but {type(tower).__name__} has none; choose another strategy"
            )
        depth = len(stack.blocks)
        if not 0 <= self.blocks <= depth:
            raise UserError(f"strategy.blocks is {self.blocks}, but the tower has {depth} blocks: at most {depth}")
        for name, parameter in tower.named_parameters():
            if not name.startswith(("stack.", "pool.")):
                parameter.requires_grad_(False)
        for block in stack.blocks[: self.blocks]:
            block.requires_grad_(False)
            block.eval()
        stack.rates[: self.blocks] = [0.0] * self.blocks


def _image_tower(model: nn.Module) -> nn.Module:
    """The tower of a classifier, or that of the images among contrastive ones."""
    names = dict(model.named_children())
    return model.get_submodule("tower" if "tower" in names else "towers.image")
