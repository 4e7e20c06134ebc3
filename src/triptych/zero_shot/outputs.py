"""What `triptych zero_shot` leaves: `summary.json`, the predictions, pictures and a page."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from triptych.analysis.guesses import Guesses, draw_guesses
from triptych.analysis.report import Table, build_report, confused_table
from triptych.analysis.results import most_confused
from triptych.callbacks import words
from triptych.evaluation import outputs
from triptych.evaluation.common import Settings, data_config, image_of, print_rows
from triptych.evaluation.scores import SetScores
from triptych.features.audio_preprocess import AudioPreprocess
from triptych.features.preprocess import Preprocess
from triptych.rundir import RunDirectory, file_name, write_atomic
from triptych.zero_shot.given import GivenPair
from triptych.zero_shot.scores import ProbeScores, RetrievalScores, SetResult

_MANY = {"image": "images", "audio": "sounds"}
_RANK = "median_rank"  # how the names of metrics end that are no shares


def write_all(
    run: RunDirectory, settings: Settings, given: GivenPair, results: Mapping[str, SetResult], facts: Settings
) -> None:
    """Writes everything and prints the numbers. `facts` go into the summary beside them."""
    config = {**settings, "data": data_config(settings["data"], given.preprocess)}
    text = yaml.safe_dump(config, sort_keys=False, allow_unicode=True)
    write_atomic(run.config, text)
    classified = {name: each.scores for name, each in results.items() if each.scores is not None}
    pictures = []
    if classified:
        outputs.write_per_class(run, classified)
        columns = ["set", "index", "name", "label", "rank"]
        top = min(settings["top"], max(len(each.classes) for each in classified.values()))
        columns += [f"{what}_{place}" for place in range(1, top + 1) for what in ("guess", "probability")]
        rows = (row for name, each in classified.items() for row in _rows(name, each, results[name], top))
        outputs.write_table(run.path / "predictions", columns, rows, settings["predictions"] == "parquet")
        pictures = [
            picture
            for name, each in classified.items()
            for picture in _pictures(run, name, each, results, given.preprocess, settings)
        ]
    numbers = _numbers(settings, given, results) | facts
    write_atomic(run.summary, json.dumps(numbers, indent=2, allow_nan=False) + "\n")
    write_atomic(run.report, _page(run, numbers, results, pictures, text))
    lines = [line for name, each in results.items() for line in _lines(name, each)]
    lines += [("checkpoint", str(given.path)), ("time", words.duration(numbers["wall_seconds"]))]
    print_rows([*lines, ("report", str(run.report)), ("results", str(run.path))])


def _numbers(settings: Settings, given: GivenPair, results: Mapping[str, SetResult]) -> Settings:
    return {
        "checkpoint": {
            "path": str(given.path),
            "weights": settings["checkpoint"]["weights"],
            "preprocess": given.preprocess.to_dict(),
        },
        "sets": {name: _set_numbers(each) for name, each in results.items()},
    }


def _set_numbers(result: SetResult) -> dict[str, Any]:
    found: dict[str, Any] = {"samples": len(result.source)}
    if result.scores is not None:
        numbers = outputs.set_numbers(result.scores) | {"classes": len(result.scores.classes)}
        del numbers["threshold"]  # of several labels, which there are none of
        found["classification"] = {**numbers, "templates": result.templates}
    if result.retrieval is not None:
        retrieval = result.retrieval
        found["retrieval"] = {
            _MANY[retrieval.perceived]: len(retrieval.image_to_text.above),
            "texts": len(retrieval.text_to_image.above),
            "left_out": retrieval.left_out,
            "metrics": {name: outputs.finite(asdict(each)) for name, each in retrieval.metrics.items()},
        }
    if result.probes is not None:
        linear = result.probes.linear
        found["probes"] = {
            "linear": None if linear is None else {**asdict(linear), "strength": result.probes.strength},
            "few_shot": [asdict(each) for each in result.probes.few],
        }
    return found


def _rows(name: str, scores: SetScores, result: SetResult, top: int) -> Iterator[list[Any]]:
    for row, index in enumerate(scores.said.indices.tolist()):
        guesses = _guesses(scores, row, top)
        pairs = zip(guesses.names, guesses.probabilities, strict=True)
        cells = [cell for pair in pairs for cell in pair]
        blank = [None] * (2 * top - len(cells))
        yield [name, index, result.source.name(index), guesses.true, guesses.rank, *cells, *blank]


def _guesses(scores: SetScores, row: int, top: int) -> Guesses:
    # Stable, so that of equal logits the first class is the first guess, as it is the predicted one.
    best = np.argsort(-scores.said.logits[row], kind="stable")[:top]
    names = [scores.classes[place] for place in best]
    true = scores.classes[int(scores.said.labels[row])]
    index, rank = int(scores.said.indices[row]), int(scores.ranks[row])
    return Guesses(index, true, rank, names, scores.probabilities[row, best].tolist())


def _pictures(
    run: RunDirectory,
    name: str,
    scores: SetScores,
    results: Mapping[str, SetResult],
    preprocess: Preprocess | AudioPreprocess,
    settings: Settings,
) -> list[tuple[str, Path]]:
    source = results[name].source
    # Evenly spread, for data are often sorted by class.
    rows = np.linspace(0, scores.samples - 1, min(settings["pictures"], scores.samples)).astype(int)
    guesses = [_guesses(scores, row, min(settings["top"], len(scores.classes))) for row in rows.tolist()]
    path = run.plots / f"{file_name(name)}_guesses.png"
    images = image_of(source, preprocess)
    draw_guesses(guesses, images, path, f"{name}: what it thinks of first")
    drawn = [(f"{name}: samples spread evenly over the set, each with its top guesses; the true one is green", path)]
    return drawn + outputs.draw_all(run, name, scores, images, source.name, settings["pictures"])


def _page(
    run: RunDirectory,
    numbers: Settings,
    results: Mapping[str, SetResult],
    pictures: list[tuple[str, Path]],
    config: str,
) -> str:
    tiles, first, tables = [], [], []
    for name, each in results.items():
        for metrics in (each.scores, each.retrieval):
            if metrics is None:
                continue
            kind = "classification" if metrics is each.scores else "retrieval"
            told = [(metric, _shown(metric, estimate)) for metric, estimate in metrics.metrics.items()]
            tiles += [(f"{name} {metric}", text.partition(" ")[0]) for metric, text in told[:2]]
            cells = [(metric, text.partition(" ")[0], text.partition(" ")[2].strip("()")) for metric, text in told]
            first.append(Table(f"{name}: {kind}", ("metric", "value", "95% interval"), cells))
        if each.probes is not None:
            first.append(Table(f"{name}: probes", ("probe", "accuracy"), _probe_rows(each.probes)))
        if each.scores is not None:
            tables.append(confused_table(most_confused(each.scores.results), f"{name}: most often confused"))
            tables.append(outputs.class_table(f"{name}: classes", each.scores.per_class))
            tables.append(Table(f"{name}: templates", ("template",), [(template,) for template in each.templates]))
            unread = [(failure.name, failure.reason) for failure in each.scores.said.failures]
            tables.append(Table(f"{name}: left out, for they cannot be read", ("sample", "reason"), unread))
    return build_report(
        title=run.path.parent.name,
        status="finished",
        under=f"zero-shot of {numbers['checkpoint']['path']} · {numbers['ended'][:16].replace('T', ' ')} · {run.path}",
        tiles=[*tiles, ("samples", f"{sum(len(each.source) for each in results.values()):,}")],
        pictures=pictures,
        tables=tables,
        config=config,
        command=numbers["command"],
        facts={key: value for key, value in numbers.items() if key not in ("sets", "command")},
        first=first,
    )


def _lines(name: str, result: SetResult) -> list[tuple[str, str]]:
    found = []
    if result.scores is not None:
        found += outputs.lines(name, result.scores)
        templates = f"{len(result.templates)} templates" if len(result.templates) > 1 else repr(result.templates[0])
        found.insert(1, ("  asked", f"{len(result.scores.classes):,} classes, {templates}"))
    if result.retrieval is not None:
        found += _retrieval_lines(name, result.retrieval)
    if result.probes is not None:
        found += [(f"  {probe}", text) for probe, text in _probe_rows(result.probes)]
    return found


def _retrieval_lines(name: str, retrieval: RetrievalScores) -> list[tuple[str, str]]:
    left_out = f", {retrieval.left_out:,} left out" if retrieval.left_out else ""
    images, texts = len(retrieval.image_to_text.above), len(retrieval.text_to_image.above)
    found = [(name, f"retrieval among {images:,} {_MANY[retrieval.perceived]} and {texts:,} captions{left_out}")]
    return found + [(f"  {metric}", _shown(metric, estimate)) for metric, estimate in retrieval.metrics.items()]


def _probe_rows(probes: ProbeScores) -> list[tuple[str, str]]:
    rows = []
    if probes.linear is not None:
        rows.append(("linear probe", f"{outputs.shown('accuracy', probes.linear)}, penalty {probes.strength:g}"))
    for each in probes.few:
        spread = f" ± {100 * each.deviation:.1f}" if each.deviation is not None else ""
        scarce = f"; {each.scarce:,} classes have fewer samples" if each.scarce else ""
        draws = f"{each.draws} draws" if each.draws > 1 else "1 draw"
        rows.append((f"{each.shots}-shot probe", f"{each.mean:.1%}{spread}, {draws}{scarce}"))
    return rows


def _shown(metric: str, estimate: Any) -> str:
    return f"{estimate.value:g}" if metric.endswith(_RANK) else outputs.shown(metric, estimate)
