"""The model card: a README.md beside the weights.

Every number in it was read from the run; what is not known is not said.
"""

import json
from typing import Any

from triptych.analysis.per_class import ClassScore
from triptych.callbacks import words
from triptych.models.classifier import Classifier
from triptych.models.contrastive import Contrastive
from triptych.nn.block import Block
from triptych.release.facts import Facts
from triptych.release.use import hears, use_of
from triptych.towers.audio import AudioTower
from triptych.towers.patches import PatchTower
from triptych.towers.vision import VisionTower

_MOST_CLASSES = 100
_LIBRARIES = {"huggingface": "transformers"}  # others have the name of their format


def build_card(facts: Facts, format: str, extra: str = "") -> str:
    """The card as Markdown, with the header that model hubs read.

    Args:
        facts: what is known.
        format: of the weights beside the card: "onnx", "timm", "open_clip", "huggingface" or "triptych".
        extra: a sentence about these files, such as the outcome of a check.
    """
    model = facts.model
    medium = "audio" if hears(model) else "image"
    task = f"{medium}-classification" if isinstance(model, Classifier) else f"zero-shot-{medium}-classification"
    kind = ("clap, " if hears(model) else "clip, ") if isinstance(model, Contrastive) else ""
    if isinstance(model, Classifier) and isinstance(model.tower, PatchTower):
        kind = "audio-spectrogram-transformer, " if hears(model) else "vision-transformer, "
    header = ["---", f"library_name: {_LIBRARIES.get(format, format)}", f"pipeline_tag: {task}",
              f"tags: [{task}, {kind}triptych]", "---"]  # fmt: skip
    sections = [
        "\n".join(header),
        f"# {_plain(facts.name)}",
        _about(facts),
        "## Use\n\n" + use_of(facts.model, format) + (f"\n\n{extra}." if extra else ""),
        "## Input\n\n" + _input(facts),
        *_results(facts),
        *_data(facts),
        *_training(facts),
    ]
    if facts.config_text:
        fence = "~~~~"
        sections.append(
            "## Configuration\n\n<details><summary>as resolved</summary>\n\n"
            f"{fence}yaml\n{facts.config_text.strip()}\n{fence}\n\n</details>"
        )
    else:
        sections.append(
            "No run directory came with these weights: nothing is known here of data, training and results."
        )
    return "\n\n".join(sections) + "\n"


def _about(facts: Facts) -> str:
    if isinstance(facts.model, Contrastive):
        return _about_towers(facts, facts.model)
    model, tower = facts.model, facts.model.tower
    parts = {
        "parameters": words.size(sum(parameter.numel() for parameter in model.parameters())),
        **_size(tower),
        **(_parts(tower) if isinstance(tower, PatchTower) else {"architecture": f"{tower.name} of timm"}),
    }
    many = "sounds" if hears(model) else "images"
    flops = facts.summary.get("forward_flops_per_sample")
    if flops:
        parts[f"FLOPs of one {many[:-1]}, forward"] = words.size(flops)
    parts |= _weights(facts)
    kinds = {VisionTower: "vision transformer", AudioTower: "audio spectrogram transformer"}
    kind = kinds.get(type(tower), "model")
    named = f": {', '.join(map(_plain, facts.classes))}" if 0 < len(facts.classes) <= 20 else ""
    return (
        f"{'An' if kind[0] == 'a' else 'A'} {kind} that tells {model.num_classes} classes of {many} apart{named}.\n\n"
        f"{_table(['', ''], [[name, text] for name, text in parts.items()])}"
    )


def _size(tower: Any) -> dict[str, str]:
    if isinstance(tower, AudioTower):
        return {"spectrogram": f"{tower.mel_bins} mel bins, any number of frames"}
    return {"image size": "{} x {} pixels, {} channels".format(*tower.image_size, tower.channels)}


def _about_towers(facts: Facts, model: Contrastive) -> str:
    parts = {"parameters": words.size(sum(parameter.numel() for parameter in model.parameters()))}
    for name, tower in model.towers.items():
        count = words.size(sum(parameter.numel() for parameter in tower.parameters()))
        parts[f"{name} tower"] = f"{type(tower).__name__}, {count} parameters"
    parts["common embedding"] = f"{model.embedding_dim} wide"
    if model.tokenizer is not None:
        size, length = model.tokenizer.vocab_size, model.tokenizer.context_length
        parts["tokenizer"] = f"{type(model.tokenizer).__name__}, {size:,} tokens, texts of {length} at most"
    each = "probabilities are among the classes that are named"
    if model.logit_bias is not None:
        each = "each class has a probability of its own"
    return (
        f"Towers that put {' and '.join(model.modalities)} into one space, to be asked about classes by their names: "
        f"{each}.\n\n{_table(['', ''], [[name, text] for name, text in (parts | _weights(facts)).items()])}"
    )


def _weights(facts: Facts) -> dict[str, str]:
    if facts.step is None:
        return {}
    return {"weights": f"of step {facts.step:,}{', moving average' if facts.averaged else ''}"}


def _parts(tower: PatchTower) -> dict[str, str]:
    blocks = [block for block in tower.stack.blocks if isinstance(block, Block)]
    unit = "mel bins and frames" if isinstance(tower, AudioTower) else "pixels"
    return {
        "patches": "{} x {} {}".format(*tower.patch.patch_size, unit),
        "width, depth": f"{tower.dim}, {len(blocks)} blocks",
        "mixer": f"{type(blocks[0].mixer).__name__}, {getattr(blocks[0].mixer, 'heads', '?')} heads",
        "feed-forward": type(blocks[0].feedforward).__name__,
        "positions": type(tower.position).__name__,
        "pooling": type(tower.pool).__name__,
    }


def _input(facts: Facts) -> str:
    assert facts.model.preprocess is not None
    settings: dict[str, Any] = facts.model.preprocess.to_dict()
    if hears(facts.model):
        settings = {**_flat(settings["front_end"]), "max_seconds": settings["max_seconds"]}
    return f"What the model wants of its {_many(facts)}:\n\n" + _table(
        ["setting", "value"], [[name.replace("_", " "), _value(value)] for name, value in settings.items()]
    )


def _flat(settings: dict[str, Any], before: str = "") -> dict[str, Any]:
    """Settings within settings by the names of both."""
    found = {}
    for name, value in settings.items():
        found |= _flat(value, f"{before}{name} ") if isinstance(value, dict) else {f"{before}{name}": value}
    return found


def _many(facts: Facts) -> str:
    return "sounds" if hears(facts.model) else "images"


def _results(facts: Facts) -> list[str]:
    sets = list(facts.config.get("data", {}).get("validation") or {})
    named = [name for name in sets if isinstance(facts.config["data"]["validation"][name], dict)]
    first = named[0] if named else "validation"
    counts = (facts.summary.get("data") or {}).get("validation_samples") or {}
    rows = []
    for name, value in facts.metrics.items():
        place, _, metric = name.rpartition("/")
        if place and place != "train" and not name.startswith("lr"):
            spoken = first if place == "val" else place
            rows.append([spoken, f"{counts[spoken]:,}" if spoken in counts else "", metric, words.value(value)])
    sections = []
    if rows:
        sections.append(
            f"## Results\n\nWhat the run logged at step {facts.step:,}, the step of these weights:\n\n"
            + _table(["set", _many(facts), "metric", "value"], rows)
        )
        if facts.config.get("ema") and not facts.averaged:
            sections.append("The run measured the moving average of its weights; these are the weights themselves.")
    if facts.class_rows:
        last = facts.summary.get("steps")
        where = "at this step" if last == facts.step else f"at the run's last step, {last:,}: not the weights here"
        sections.append(_class_table(facts.class_rows, f"{first}, {where}", _many(facts)))
    return sections


def _class_table(rows: list[ClassScore], of: str, many: str) -> str:
    chosen = sorted(rows, key=lambda row: 1.0 if row.recall is None else row.recall)[:_MOST_CLASSES]
    some = f" (the {_MOST_CLASSES} of {len(rows)} that were found least)" if len(rows) > _MOST_CLASSES else ""
    table = [[_plain(row.name), f"{row.support:,}", _share(row.recall), _share(row.precision)] for row in chosen]
    return f"### Classes\n\nOn {of}{some}:\n\n" + _table(["class", many, "found", "right where said"], table)


def _data(facts: Facts) -> list[str]:
    data = facts.config.get("data")
    if not data:
        return []
    train = data.get("train") or {}
    rows = [["source", f"`{train.get('_target_', '')}`"]]
    if data.get("root"):
        rows.append(["folder", _plain(data["root"].rstrip("/").rpartition("/")[2])])
    counted = facts.summary.get("data")
    if counted:
        rows.append([f"training {_many(facts)}", f"{counted['train_samples']:,}"])
        rows += [
            [f"{_many(facts)} of {_plain(name)}", f"{count:,}"] for name, count in counted["validation_samples"].items()
        ]
        rows.append(["classes", f"{counted['classes']:,}"])
    rows += [["licence file", f"{_plain(name)}: {_plain(line)}"] for name, line in facts.licences]
    return ["## Data\n\n" + _table(["", ""], rows)]


def _training(facts: Facts) -> list[str]:
    summary = facts.summary
    if not summary:
        return []
    git = summary.get("git") or {}
    rows = {
        "status": summary["status"],
        "steps": f"{summary['steps']:,} ({summary['epochs']:g} epochs)",
        "time": words.duration(summary["wall_seconds"]),
        "device": f"{summary['device']['name']}, {summary['precision']}",
        "seed": str(summary["seed"]),
        "started from": facts.config.get("weights") or "random weights",
        "commit": f"{git['commit']}{' with changes' if git.get('changed') else ''}" if git else None,
        "versions": ", ".join(f"{name} {version}" for name, version in summary["versions"].items() if version),
    }
    table = _table(["", ""], [[name, _plain(text)] for name, text in rows.items() if text])
    return [f"## Training\n\n```\n{summary['command']}\n```\n\n{table}"]


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = ["| " + " | ".join(cells) + " |" for cells in [head, ["---"] * len(head), *rows]]
    return "\n".join(lines)


def _plain(text: str) -> str:
    """A name as a name: no markup, on one line."""
    one_line = " ".join(str(text).split())
    return "".join(f"\\{letter}" if letter in "\\|<>*`[]#" else letter for letter in one_line)


def _share(share: float | None) -> str:
    return "" if share is None else f"{share:.1%}"


def _value(value: Any) -> str:
    return ", ".join(f"{each:g}" for each in value) if isinstance(value, list) else _plain(json.dumps(value).strip('"'))
