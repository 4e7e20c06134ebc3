"""`triptych ls`, `show`, `cp`: what can be chosen, what a choice says, and a copy of it to change."""

import shutil
from pathlib import Path

from triptych.command import groups
from triptych.errors import UserError
from triptych.schema.option import near


def ls(words: list[str]) -> str:
    """The choices of the groups named in `words` (plural forms are understood), or all groups with their choices."""
    if not words:
        width = max(len(group) for group in groups.groups())
        return "\n".join(f"{group:<{width}}  {', '.join(groups.choices(group))}" for group in groups.groups())
    return "\n".join(_ls_group(_group(word)) for word in words)


def show(words: list[str]) -> str:
    """The YAML files behind choices written `group/choice` or just `choice`."""
    if not words:
        raise UserError("show what? For example `triptych show experiment/emoji`; `triptych ls` lists the choices")
    return "\n".join(_find(word).read_text(encoding="utf-8").rstrip() for word in words)


def cp(words: list[str]) -> str:
    """Copies a choice into `conf/` of the current folder under a new name, where runs started there find it."""
    if len(words) != 2:
        raise UserError("cp takes two names, for example `triptych cp experiment/emoji my_experiment`")
    source = _find(words[0])
    group = next(source.parent.relative_to(root) for root in groups.roots() if source.is_relative_to(root))
    name = words[1].removesuffix(".yaml").rpartition("/")[2]
    if name in groups.choices(group.as_posix()):
        raise UserError(f"{group.as_posix()}/{name} exists already: choose another name than {name!r}")
    target = Path.cwd() / "conf" / group / f"{name}.yaml"
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    return f"{target.relative_to(Path.cwd())}: edit it, then run with {group.as_posix()}={name}"


def _ls_group(group: str) -> str:
    choices = groups.choices(group)
    width = max(map(len, choices))
    return "\n".join(f"{choice:<{width}}  {groups.header(groups.file_of(group, choice))}" for choice in choices)


def _group(word: str) -> str:
    for candidate in (word, word.removesuffix("s"), word.replace(".", "/")):
        if candidate in groups.groups():
            return candidate
    close = near(word, list(groups.groups()))
    hint = f" Did you mean {' or '.join(map(repr, close))}?" if close else ""
    raise UserError(f"there is no group {word!r}.{hint} The groups are {', '.join(groups.groups())}")


def _find(word: str) -> Path:
    plain = word.removesuffix(".yaml").replace("=", "/")
    known = {
        f"{group}/{choice}": groups.file_of(group, choice)
        for group in groups.groups()
        for choice in groups.choices(group)
    }
    matches = [key for key in known if key == plain or key.endswith(f"/{plain}")]
    if len(matches) == 1:
        return known[matches[0]]
    if matches:
        raise UserError(f"{word!r} is the name of several choices: {', '.join(matches)}")
    short = {key.rpartition("/")[2]: key for key in known}
    close = near(plain, list(known)) or [short[item] for item in near(plain, list(short))]
    hint = f" Did you mean {' or '.join(map(repr, close))}?" if close else ""
    raise UserError(f"there is no choice {word!r}.{hint} `triptych ls` lists them")
