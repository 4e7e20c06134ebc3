"""`triptych predict`: what a trained model says of images or sounds. Standard output holds nothing but that."""

import os
import sys
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import torch
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from triptych.callbacks.display import Status, display
from triptych.data.files import suggest
from triptych.data.source import BadSample
from triptych.errors import UserError
from triptych.evaluation.asking import Asked, Piece, Reading, answers, reading_of
from triptych.evaluation.given import GivenModel, device_of, load_given
from triptych.evaluation.inference import Forward
from triptych.evaluation.inputs import Input, find_inputs
from triptych.evaluation.told import FORMATS, Told, as_text, csv_head, line_of, table
from triptych.rundir import write_atomic

STANDARD_OUTPUT = "-"


def predict(config: DictConfig) -> int:
    """Predicts as `config` (the schema's `Predict`) says; the exit code, which is 0 also where some images could not
    be read.

    Raises:
        UserError: what is given is not there or does not fit; none of the images could be read.
    """
    settings = cast(dict[str, Any], OmegaConf.to_container(config, resolve=True, throw_on_missing=True))
    form = _form(settings)
    given = load_given(settings["checkpoint"], tuple(settings["allow_targets"]))
    reading = reading_of(given, settings["hop_seconds"])
    inputs = find_inputs(settings["input"], sys.stdin.buffer.read, medium=reading.medium)
    device = device_of(settings["device"]["accelerator"])
    if settings["device"]["threads"]:
        torch.set_num_threads(settings["device"]["threads"])
    names = given.classes
    if names is None:
        outputs = cast(int, given.model.num_classes)
        names = [str(place) for place in range(outputs)]
        _say(
            f"{given.path} does not name its classes: their numbers stand for them (checkpoint.classes=FILE names them)"
        )
    forward = Forward(given.model, given.preprocess, device, settings["device"]["precision"])
    told = tell(inputs, forward, given, reading, names, settings)
    if settings["output"] == STANDARD_OUTPUT and form != "json":
        return _stream(told, form, min(settings["top"], len(names)))
    every = list(told)
    if settings["output"] in (None, STANDARD_OUTPUT):
        top = min(settings["top"], len(names))
        out(table(every) if settings["output"] is None else as_text(every, form, top))
        return 0
    output = Path(settings["output"])
    try:
        write_atomic(output, as_text(every, form, min(settings["top"], len(names))))
    except OSError as error:
        raise UserError(f"output={output} cannot be written: {error.strerror}") from error
    _say(f"{len(every):,} {reading.medium.many} told in {output}")
    return 0


def tell(
    inputs: list[Input],
    forward: Forward,
    given: GivenModel,
    reading: Reading,
    names: list[str],
    settings: dict[str, Any],
) -> Iterator[Told]:
    """What the model says of each input that can be read, in order; the others are named and counted on standard
    error.

    Raises:
        UserError: none could be read.
    """
    screen, begun, failures = Console(stderr=True), time.monotonic(), []
    shown = display(screen, begun)
    try:
        batch: list[Asked] = []
        for done, (each, result) in enumerate(_decoded(inputs, reading, settings), start=1):
            if isinstance(result, BadSample):
                failures.append(each.name)
                shown.line(f"left out {each.name}: {result}")
            else:
                batch.append(Asked(each.name, result))
            pieces = sum(len(asked.pieces) for asked in batch)
            if batch and (pieces >= settings["batch_size"] or done == len(inputs)):
                yield from answers(batch, forward, given, names, settings)
                batch = []
            now = time.monotonic()
            if shown.due(now, done, None):
                shown.show(Status("predicting", done, len(inputs)), now)
    finally:
        shown.close()
    if len(failures) == len(inputs):
        raise UserError(
            f"none of the {len(inputs)} given {reading.medium.many} can be read; the first is {failures[0]}"
        )
    if failures:
        _say(f"{len(failures):,} of {len(inputs):,} {reading.medium.many} could not be read and were left out")


def _decoded(
    inputs: list[Input], reading: Reading, settings: dict[str, Any]
) -> Iterator[tuple[Input, list[Piece] | BadSample]]:
    """What the model takes of each input, in order, decoded by threads ahead of the model."""

    def prepare(each: Input) -> list[Piece] | BadSample:
        try:
            return reading.pieces(each.read())
        except BadSample as error:
            return error

    ahead = 2 * settings["batch_size"] + settings["workers"]
    waiting: deque[tuple[Input, Future[list[Piece] | BadSample]]] = deque()
    with ThreadPoolExecutor(settings["workers"]) as pool:
        try:
            for each in inputs:
                waiting.append((each, pool.submit(prepare, each)))
                if len(waiting) > ahead:
                    first, future = waiting.popleft()
                    yield first, future.result()
            while waiting:
                first, future = waiting.popleft()
                yield first, future.result()
        finally:
            pool.shutdown(cancel_futures=True)


def _form(settings: dict[str, Any]) -> str:
    """The form of the output; mistakes in it are told before anything is loaded."""
    output = settings["output"]
    if output is None or output == STANDARD_OUTPUT:
        return settings["format"]
    path = Path(output)
    form = path.suffix[1:].lower()
    if form not in FORMATS:
        raise UserError(
            f"output={output} ends in {path.suffix or 'nothing'!r}, which tells no form{suggest(form, list(FORMATS))}"
        )
    if not path.parent.is_dir():
        raise UserError(f"output={output} lies in a folder that does not exist: make {path.parent} first")
    if path.is_dir():
        raise UserError(f"output={output} is a folder: name a file in it")
    if path.exists() and not settings["overwrite"]:
        raise UserError(f"output={output} exists: choose another name, or replace it with overwrite=true")
    return form


def _stream(told: Iterator[Told], form: str, top: int) -> int:
    """Lines as they come, so that a reader need not wait for the last image."""
    head = csv_head(top) if form == "csv" else ""
    for each in told:
        if not out(head + line_of(each, form, top)):
            break
        head = ""
    return 0


def out(text: str) -> bool:
    """Writes to standard output; False where its reader has gone away (`triptych predict ... | head`)."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        # What Python would flush at its end must not fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return False
    return True


def _say(text: str) -> None:
    print(text, file=sys.stderr)
