"""The data of a run: sources, augmentation and loaders behind Lightning's interface."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from functools import cached_property, partial
from typing import Any

from lightning import LightningDataModule

from triptych.data.balanced_order import BalancedOrder, class_weights, target_of
from triptych.data.cache import CachedSource
from triptych.data.collation import Collation
from triptych.data.files import suggest
from triptych.data.loader import BadSamples, StepLoader
from triptych.data.order import Order
from triptych.data.source import Relabelled, Source, SourceFactory, Targets, with_root
from triptych.data.transforms import Transform
from triptych.errors import UserError
from triptych.features.front_end import FrontEnd
from triptych.parallel.mesh import data_share


class LabelledData(LightningDataModule, ABC):
    """Samples and labels for training and validation, in one order that nothing but the seed decides.

    Sources are made when first needed, once.

    `stop_step` makes one training loader run from `start_step` over all epochs to that step; without it a loader
    gives one epoch at a time. `patience` is in seconds: workers that give nothing for so long end the run.

    Args:
        train: makes the training source (`_partial_` in a config).
        validation: makes the validation source, or names with a factory each, such as one a held-out split. Its
            classes are matched to those of training by name.
        augment: transform of training samples.
        evaluate: transform of validation samples.
        batch_size: global: samples of one optimizer step, over all ranks and micro-batches.
        workers: processes that read samples; 0 reads in the main one.
        seed: of order and augmentation.
        max_bad_fraction: of samples that cannot be read and are skipped; more end the run.
        cache: keep all decoded samples in memory.
        balance: evens out how often classes come in training, from 0 (as the data have them) to 1 (equally often): see
            `class_weights`.
        root: folder of the data, given to each source as `root`; None where the sources know their own.

    Raises:
        UserError: a setting out of its range; classes that do not match; what the sources themselves raise.
    """

    _loader_kind = StepLoader

    def __init__(
        self,
        train: SourceFactory,
        validation: SourceFactory | Mapping[str, SourceFactory],
        augment: Transform,
        evaluate: Transform,
        batch_size: int,
        workers: int,
        seed: int,
        max_bad_fraction: float | int,
        cache: bool,
        root: str | None,
        balance: float | int = 0.0,
    ) -> None:
        super().__init__()
        if workers < 0:
            raise UserError(f"data.workers is {workers}; it must not be negative")
        if not 0 <= max_bad_fraction <= 1:
            raise UserError(f"data.max_bad_fraction is {max_bad_fraction}; it must lie between 0 and 1")
        if not 0 <= balance <= 1:
            raise UserError(f"data.balance is {balance}; it must lie between 0 and 1")
        rooted = partial(with_root, root)
        self._train_factory = rooted(train)
        named = validation if isinstance(validation, Mapping) else {"validation": validation}
        self._validation_factories = {name: rooted(factory) for name, factory in named.items()}
        self._augment = augment
        self._evaluate = evaluate
        self.batch_size = batch_size
        self.workers = workers
        self.seed = seed
        self.max_bad_fraction = max_bad_fraction
        self.cache = cache
        self.balance = balance
        self.stop_step: int | None = None
        self.patience: float | None = None
        self._bad: dict[int, BadSamples] = {}
        self._start_step = 0
        self._train_loader: StepLoader | None = None

    @abstractmethod
    def collation(self) -> Collation:
        """How samples become a batch."""

    @property
    @abstractmethod
    def channels(self) -> int:
        """Of what a tower cuts into patches."""

    @property
    @abstractmethod
    def front_end(self) -> FrontEnd:
        """What makes a model's input of a batch, on the device."""

    @cached_property
    def train_source(self) -> Source:
        """The training samples."""
        return self._cached(self._train_factory())

    @cached_property
    def validation_sources(self) -> dict[str, Source]:
        """The validation samples by name, labelled in the order of `classes`."""
        return {name: self._cached(self._matched(name, make())) for name, make in self._validation_factories.items()}

    @cached_property
    def order(self) -> Order:
        """Which samples make up each training step."""
        source = self.train_source
        if not self.balance:
            return Order(len(source), self.batch_size, self.seed)
        if not isinstance(source, Targets):
            raise UserError(
                f"data.balance={self.balance:g} needs the label of every sample before training, and these data tell "
                "it only with the sample: keep them in memory with data.cache=true, or set data.balance=0"
            )
        labels = [target_of(source, index) for index in range(len(source))]
        weights = class_weights(labels, len(source.classes), self.balance)
        return BalancedOrder(weights, self.batch_size, self.seed)

    @property
    def classes(self) -> list[str]:
        """Class names; labels count in this list."""
        return self.train_source.classes

    @property
    def multilabel(self) -> bool:
        """Labels are float32 `(batch, classes)`, not int64 `(batch,)`."""
        return self.train_source.multilabel

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps in one pass over the training samples."""
        return self.order.steps_per_epoch

    @property
    def skipped(self) -> int:
        """Different samples, of all loaders, that could not be read so far."""
        return sum(bad.count for bad in self._bad.values())

    @property
    def validation_names(self) -> list[str]:
        """Names of the validation sources, in the order of the loaders."""
        return list(self._validation_factories)

    @property
    def start_step(self) -> int:
        """Global step at which training begins: set it to the trainer's after a restart, before iteration."""
        return self._start_step

    @start_step.setter
    def start_step(self, step: int) -> None:
        if step < 0:
            raise ValueError(f"start_step is {step}; steps are counted from 0")
        self._start_step = step
        if self._train_loader is not None:
            self._train_loader.start_step = step

    def state_dict(self) -> dict[str, Any]:
        """The whole state of the loader: the step that comes next."""
        return {"step": self.trainer.global_step if self.trainer is not None else self._start_step}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a saved step; UserError where it is none."""
        step = state_dict.get("step")
        if type(step) is not int or step < 0:
            raise UserError(f"the checkpoint's place in the data is {step!r:.80}, which is no number of steps")
        self.start_step = step

    def setup(self, stage: str) -> None:
        """Make the sources, so that a mistake in their settings ends the run before anything else starts."""
        if stage == "fit":
            _ = self.order
        _ = self.validation_sources

    def train_dataloader(self) -> StepLoader:
        """Training batches from `start_step` on."""
        loader = self._loader(self.train_source, self.order, self._augment, training=True)
        loader.start_step, loader.stop_step = self._start_step, self.stop_step
        self._train_loader = loader
        return loader

    def val_dataloader(self) -> list[StepLoader]:
        """One loader for each of `validation_names`; each gives every sample once, in its own order."""
        return [
            self._loader(source, Order(len(source), self.batch_size, self.seed, shuffle=False), self._evaluate, False)
            for source in self.validation_sources.values()
        ]

    def _loader(self, source: Source, order: Order, transform: Transform, training: bool) -> StepLoader:
        rank, world_size = data_share(self.trainer)
        # One count a data set, however often Lightning asks for its loader.
        bad = self._bad.setdefault(id(source), BadSamples(len(source), self.max_bad_fraction))
        joined = self.collation()
        loader = self._loader_kind(source, order, transform, joined, bad, self.workers, training, rank, world_size)
        loader.patience = self.patience
        return loader

    def _cached(self, source: Source) -> Source:
        return CachedSource(source) if self.cache else source

    def _matched(self, name: str, source: Source) -> Source:
        if source.multilabel != self.multilabel:
            raise UserError(
                f"the data {name!r} has multilabel={source.multilabel}, the training data multilabel={self.multilabel}"
            )
        if source.classes == self.classes:
            return source
        unknown = [each for each in source.classes if each not in self.classes]
        if unknown:
            raise UserError(
                f"the data {name!r} has the class {unknown[0]!r}, which is none of the {len(self.classes)} classes of "
                f"the training data{suggest(unknown[0], self.classes)}"
            )
        return Relabelled(source, self.classes)
