"""The choices that conf/ offers, read from its folders: a group is a folder, a choice is a file in it."""

import re
from functools import cache
from pathlib import Path

from triptych.paths import resource


def roots() -> list[Path]:
    """Folders with configuration, as Hydra searches them: the shipped one, then `conf/` in the current folder."""
    shipped = resource("conf")
    own = Path.cwd() / "conf"
    return [shipped, own] if own.is_dir() and own.resolve() != shipped.resolve() else [shipped]


@cache
def choices(group: str) -> tuple[str, ...]:
    """Names that can be chosen in a group (`optimizer`, `model/tower/mixer`), sorted; none if there is no such one."""
    found = {file.stem for root in roots() for file in (root / group).glob("*.yaml") if not file.stem.startswith("_")}
    return tuple(sorted(found))


@cache
def groups() -> tuple[str, ...]:
    """Every group, outer ones before the groups inside them."""
    found = {
        folder.relative_to(root).as_posix()
        for root in roots()
        for folder in root.rglob("*")
        if folder.is_dir() and any(folder.glob("*.yaml"))
    }
    return tuple(sorted(found))


def tasks() -> dict[str, Path]:
    """The tasks by name: each file of tasks/ is one."""
    return {file.stem: file for file in sorted(resource("tasks").glob("*.py")) if not file.stem.startswith("_")}


def task_file(task: str) -> Path:
    """The YAML file that a task's configuration is composed from."""
    return next(path for root in roots() if (path := root / f"{task}.yaml").is_file())


def of_task(task: str) -> list[str]:
    """The groups that a task chooses from: those in its file's list of defaults, and what is inside them."""
    listed = re.findall(r"^ *- (\w+):", task_file(task).read_text(encoding="utf-8"), re.MULTILINE)
    return [group for group in groups() if group.partition("/")[0] in listed]


def experiments(task: str) -> list[str]:
    """The experiments that a task can run: it chooses from every group that they choose from."""
    listed = of_task(task)
    if "experiment" not in listed:
        return []
    found = []
    for name in choices("experiment"):
        text = file_of("experiment", name).read_text(encoding="utf-8")
        if all(
            group.partition("/")[0] in listed for group in re.findall(r"^ *- override /([\w/]+)", text, re.MULTILINE)
        ):
            found.append(name)
    return found


def file_of(group: str, choice: str) -> Path:
    """The YAML file behind a choice."""
    return next(path for root in roots() if (path := root / group / f"{choice}.yaml").is_file())


def header(file: Path) -> str:
    """First comment line of a YAML file: what the choice is."""
    for line in file.read_text(encoding="utf-8").splitlines():
        if line.startswith("#") and not line.startswith("# @package"):
            return line.lstrip("# ").strip()
    return ""
