"""`triptych --help`, `triptych TASK --help` and `triptych help TASK [KEY]`: all that can be set, without torch."""

import ast
import textwrap
from collections.abc import Iterable
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from triptych.command import data_of_run, groups, messages
from triptych.command.following import followed
from triptych.command.overrides import as_typed
from triptych.errors import UserError
from triptych.schema import register
from triptych.schema.check import documented, nodes, text_keys
from triptych.schema.option import Documented, near
from triptych.schema.roots import positional, shorthand

_WIDTH = 100


def overview() -> str:
    """Tasks, experiments and the other words of the command."""
    experiments = {
        task: [
            (f"experiment={name}", groups.header(groups.file_of("experiment", name)))
            for name in groups.experiments(task)
        ]
        for task in ("train", "finetune")
    }
    words = [
        ("help TASK [KEY]", "every setting of a task, or one: meaning, type, default, range"),
        ("ls [GROUP]", "what can be chosen: models, experiments, data, optimizers, ..."),
        ("show CHOICE", "the YAML file behind a choice"),
        ("cp CHOICE NAME", "copy it into ./conf under a new name, to change it there"),
    ]
    return "\n".join(
        [
            "usage: triptych TASK [key=value ...]",
            "",
            "Tasks:",
            *_table((name, _summary(file)) for name, file in groups.tasks().items()),
            "",
            "Experiments (triptych train experiment=NAME):",
            *_table(experiments["train"]),
            "",
            "Experiments (triptych finetune experiment=NAME):",
            *_table(experiments["finetune"]),
            "",
            "Also:",
            *_table(words),
        ]
    )


def manual(words: list[str]) -> str:
    """The page of one task, or of one of its keys."""
    register()
    if not words:
        return overview()
    task, *keys = words
    if task not in groups.tasks():
        close = near(task, list(groups.tasks()))
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise UserError(f"there is no task {task!r}.{hint} The tasks are {', '.join(groups.tasks())}")
    plain = [key for key in keys if "=" not in key and key not in ("--help", "-h")]
    overrides = as_typed([key for key in keys if "=" in key], text_keys(), task)
    # A key that only one kind of training has is looked up there.
    overrides = [word for word in followed([*overrides, *plain], groups.of_task(task)) if word not in plain]
    try:
        config = messages.compose_plain(task, overrides)
    except messages.COMPOSITION_ERRORS as error:
        raise UserError(messages.explain(error, task, overrides)) from error
    return "\n\n".join(_key_page(task, key, config) for key in plain) if plain else _task_page(task, config)


def _task_page(task: str, config: DictConfig) -> str:
    lines = [
        _summary(groups.tasks()[task]),
        "",
        f"usage: triptych {' '.join([task, *map(str.upper, positional(task))])} [key=value ...]",
    ]
    if chosen := _groups_of(task):
        lines += ["", "Groups (GROUP=CHOICE):", *_table((group, ", ".join(groups.choices(group))) for group in chosen)]
    lines += ["", f"Settings and their defaults (`triptych help {task} KEY` tells more):"]
    lines += _table((f"{key}={_default(config, key)}", field.help) for key, field in documented(config).items())
    return "\n".join(lines)


def _groups_of(task: str) -> list[str]:
    """The groups that a task chooses from and reads."""
    return [group for group in groups.of_task(task) if not (data_of_run.measures(task) and data_of_run.unread(group))]


def _key_page(task: str, key: str, config: DictConfig) -> str:
    key = key.replace("/", ".")
    fields = documented(config)
    if key in fields:
        return _field_page(fields[key], config)
    group = key.replace(".", "/")
    if group in groups.groups() and key not in shorthand(task):
        chosen = nodes(config).get(key)
        about = (chosen.__doc__ or "").strip().splitlines()[0] if chosen else ""
        inside = [
            f"{field.key}={_default(config, field.key)}" for field in fields.values() if field.key.startswith(f"{key}.")
        ]
        choices = _table((name, groups.header(groups.file_of(group, name))) for name in groups.choices(group))
        return "\n".join(
            [
                f"{group}: {about}",
                "choices:",
                *choices,
                "settings of the present choice:",
                *(f"  {item}" for item in inside),
            ]
        )
    inside = [field for name, field in fields.items() if name.startswith(f"{key}.")]
    if inside:
        return "\n".join(_table((f"{field.key}={_default(config, field.key)}", field.help) for field in inside))
    same_name = [name for name in fields if name.split(".")[-1] == key.split(".")[-1]]
    close = list(dict.fromkeys([*near(key, list(fields)), *same_name]))[:3]
    hint = f" Did you mean {' or '.join(map(repr, close))}?" if close else ""
    raise UserError(f"there is no setting {key!r}.{hint} `triptych help {task}` lists them")


def _field_page(field: Documented, config: DictConfig) -> str:
    lines = [field.key, *textwrap.wrap(field.help, _WIDTH, initial_indent="  ", subsequent_indent="  ")]
    return "\n".join(
        [*lines, f"  type:    {field.type}", f"  default: {_default(config, field.key)}", f"  range:   {field.range}"]
    )


def _default(config: DictConfig, key: str) -> str:
    parent, _, leaf = key.rpartition(".")
    node = OmegaConf.select(config, parent) if parent else config
    raw = OmegaConf.to_container(node, resolve=False)
    assert isinstance(raw, dict)
    value = raw[leaf]
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _summary(file: Path) -> str:
    """First line of a task's docstring, read without running the file."""
    text = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
    return text.splitlines()[0] if text else ""


def _table(rows: Iterable[tuple[str, str]]) -> list[str]:
    rows = list(rows)
    width = min(max((len(left) for left, _ in rows), default=0), 44)
    lines = []
    for left, right in rows:
        wrapped = textwrap.wrap(right, max(_WIDTH - width - 4, 30)) or [""]
        if len(left) > width:
            lines.append(f"  {left}")
            left = ""
        lines += [f"  {left:<{width}}  {wrapped[0]}".rstrip(), *(" " * (width + 4) + more for more in wrapped[1:])]
    return lines
