"""`triptych benchmark`: ours and timm's in turn, in one process; a table and `benchmark.json`."""

import json
import logging
import os
import sys
from typing import Any, cast

import torch
import yaml
from omegaconf import DictConfig, OmegaConf
from torch import nn

from triptych.analysis import machine
from triptych.analysis.flops import forward_flops, model_flops_utilisation
from triptych.benchmark.loader import FirstBatches, our_loader, timms_loader
from triptych.benchmark.room import room_for
from triptych.benchmark.table import Row, show
from triptych.benchmark.work import Work
from triptych.build import RUN_PACKAGES, build
from triptych.checkpoints.timm import timm_twin
from triptych.data.module import ImageData
from triptych.errors import UserError
from triptych.evaluation.given import device_of
from triptych.features.preprocess import Preprocess
from triptych.kinds import check_classifier
from triptych.measure.batch_size import largest_batch
from triptych.measure.memory import peak_bytes, shown_bytes
from triptych.measure.step import measured_how
from triptych.measure.timing import Step, compare, time_alone
from triptych.models.classifier import Classifier
from triptych.rundir import Masking, RunDirectory, RunLog, write_atomic
from triptych.schema.model import takes_channels

log = logging.getLogger("triptych.benchmark")

PASSES = {"train": 3, "inference": 1}
_CLASSES = 1000


def benchmark(config: DictConfig) -> int:
    """Times what `config` (the schema's `Benchmark`) says; the exit code."""
    check_classifier(config, "benchmark")
    settings = cast(dict[str, Any], OmegaConf.to_container(config, resolve=True, throw_on_missing=True))
    device = device_of(settings["device"]["accelerator"])
    if settings["device"]["threads"]:
        torch.set_num_threads(settings["device"]["threads"])
    _check_batch_size(settings["batch_size"], settings["mode"])
    run = RunDirectory.create(settings["output"], settings["task"], settings["name"], folders=())
    masking = Masking()
    with RunLog(run.log, masking):
        try:
            bench = _Benchmark(settings, device)
            rows = bench.rows()
        except BaseException:
            run.discard()
            raise
        run.write_config(yaml.safe_dump(masking.tree(settings), sort_keys=False, allow_unicode=True))
        facts = {
            "rows": [row.facts() for row in rows],
            "notes": bench.notes,
            "batch_size": bench.batch_size,
            "command": masking.text(" ".join(["triptych", *sys.argv])),
            "device": {"name": machine.device(device, 1).name, "precision": settings["device"]["precision"]},
            "threads": torch.get_num_threads(),
            "load": list(os.getloadavg()),
            "versions": machine.versions(),
        }
        write_atomic(run.path / "benchmark.json", json.dumps(facts, indent=1, ensure_ascii=False) + "\n")
        show(rows, bench.notes, run.path / "benchmark.json")
    return 0


class _Benchmark:
    """One benchmark from plain settings."""

    def __init__(self, settings: dict[str, Any], device: torch.device) -> None:
        self.settings, self.device = settings, device
        self.allow = (*RUN_PACKAGES, *settings["allow_targets"])
        self.notes: list[str] = []
        self.batch_size = 0 if settings["batch_size"] == "auto" else int(settings["batch_size"])

    def rows(self) -> list[Row]:
        """Everything that the mode asks for."""
        mode = self.settings["mode"]
        rows = []
        if mode != "loader":
            rows += self._model_rows(list(PASSES) if mode == "all" else [mode])
        if mode in ("loader", "all"):
            rows += self._loader_rows()
        if any(row.ratio is not None for row in rows):
            pairs = self.settings["pairs"]
            self.notes.insert(0, f"timm / ours: timm's time over ours, median and quartiles of {pairs} pairs in turn")
        return rows

    def _model_rows(self, modes: list[str]) -> list[Row]:
        torch.manual_seed(self.settings["seed"])
        model = self._model()
        preprocess = getattr(model, "preprocess", None)
        if not isinstance(preprocess, Preprocess):
            raise UserError(f"{type(model).__name__} does not say what images it takes, so it cannot be timed")
        shape = (len(preprocess.mean), *preprocess.image_size)
        model.to(self.device)
        if not self.batch_size:
            self._choose_batch_size(model, shape)
        work = self._work(model, shape, self.batch_size)
        twin = self._twin(model)
        if twin is not None:
            difference = work.largest_difference(model, twin)
            self.notes.append(f"the outputs of the two, from the same weights, differ by at most {difference:.1e}")
        rows = [row for mode in modes for row in self._timed(mode, work, model, twin)]
        if work.peak is None:
            self.notes.append(f"MFU: unknown peak, {machine.device(self.device, 1).name} at {work.precision}")
        return rows

    def _work(self, model: nn.Module, shape: tuple[int, ...], batch_size: int) -> Work:
        settings, classes = self.settings, int(getattr(model, "num_classes", _CLASSES))
        return Work(shape, classes, batch_size, self.device, settings["device"]["precision"], settings["seed"])

    def _model(self) -> nn.Module:
        config = self.settings["model"]
        for place, key, default in ((config, "num_classes", _CLASSES), (takes_channels(config), "channels", 3)):
            if place.get(key) is None:
                place[key] = default
        return build(config, self.allow)

    def _twin(self, model: nn.Module) -> nn.Module | None:
        if self.settings["against"] is None:
            return None
        try:
            if not isinstance(model, Classifier):
                raise UserError(f"timm has no form for a {type(model).__name__}")
            return timm_twin(model).to(self.device)
        except UserError as error:
            self.notes.append(f"not compared: {error}")
            return None

    def _choose_batch_size(self, model: nn.Module, shape: tuple[int, ...]) -> None:
        memory = room_for(self.settings["memory"], "memory", self.device)
        found = largest_batch(self._work(model, shape, 1).memory(model), memory)
        self.batch_size = found.batch_size
        self.notes.append(
            f"batch_size={found.batch_size}: a training step of ours takes {shown_bytes(found.bytes)} of "
            f"{shown_bytes(memory)} ({measured_how(self.device)})"
        )

    def _timed(self, mode: str, work: Work, model: nn.Module, twin: nn.Module | None) -> list[Row]:
        settings = self.settings
        make = work.training if mode == "train" else work.inference
        ours = make(model, settings["compile"] != "none")
        if twin is None:
            spread = time_alone(ours, settings["pairs"], device=self.device)
            return [self._row(mode, "triptych", work, model, ours, Row(mode, "triptych", self.batch_size, spread))]
        theirs = make(twin, settings["compile"] == "both")
        result = compare(theirs, ours, settings["pairs"], device=self.device)
        own = Row(mode, "triptych", self.batch_size, result.second, result.ratio)
        peer = Row(mode, "timm", self.batch_size, result.first)
        return [
            self._row(mode, "triptych", work, model, ours, own),
            self._row(mode, "timm", work, twin, theirs, peer),
        ]

    def _row(self, mode: str, who: str, work: Work, model: nn.Module, step: Step, row: Row) -> Row:
        if mode == "train":
            row.saved_bytes = work.saved(model)
        if self.device.type == "cuda":
            row.peak_bytes = peak_bytes(step, self.device)
        flops = forward_flops(model, lambda: model(work.images[:1]))
        row.flops = flops * PASSES[mode]
        if work.peak is not None:
            row.mfu = model_flops_utilisation(flops, row.samples_per_second, work.peak, 1, PASSES[mode])
        return row

    def _loader_rows(self) -> list[Row]:
        settings = self.settings["data"]
        settings["batch_size"] = self.batch_size
        settings["cache"] = False  # both sides read and decode files
        data: ImageData = build(settings, self.allow)
        augment = build(settings["augment"], self.allow)
        batches = self.settings["loader_batches"]
        samples = FirstBatches(data.order, batches).samples
        where = f"{data.workers} workers" if data.workers else "no workers"
        ours, pairs = our_loader(data, augment, batches), self.settings["pairs"]
        self.notes.append(f"loader: {samples} images a run, uint8, {data.image_size} pixels, {where}")
        try:
            theirs = timms_loader(data, augment, batches) if self.settings["against"] else None
        except UserError as error:
            self.notes.append(f"not compared: {error}")
            theirs = None
        if theirs is None:
            return [Row("loader", "triptych", samples, time_alone(ours, pairs, warmup=1))]
        result = compare(theirs, ours, pairs, warmup=1)
        return [
            Row("loader", "triptych", samples, result.second, result.ratio),
            Row("loader", "timm", samples, result.first),
        ]


def _check_batch_size(given: int | str, mode: str) -> None:
    if given == "auto":
        if mode == "loader":
            raise UserError("batch_size=auto is found by a training step, and mode=loader makes none: give a number")
        return
    if not (isinstance(given, int) and not isinstance(given, bool) and given >= 1):
        raise UserError(f"batch_size={given}, but it must be a whole number of at least 1, or auto")
