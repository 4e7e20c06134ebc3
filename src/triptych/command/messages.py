"""What Hydra and OmegaConf say when a configuration does not compose, told in one message with the way out."""

import re
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import ConfigCompositionException, HydraException, MissingConfigException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from triptych.command import groups
from triptych.command.following import followed
from triptych.schema.option import near

COMPOSITION_ERRORS = (HydraException, OmegaConfBaseException)


def explain(error: Exception, task: str, overrides: list[str]) -> str:
    """One readable message for an error of composition: what was wrong, what was near, what to do."""
    cause = error.__cause__ or error.__context__ or error
    text = str(error)
    if "Unexpected type for root: NoneType" in text:
        return _key_of_nothing(task, overrides)
    if found := re.search(r"Missing mandatory value: (\S+)", text):
        key = getattr(cause, "full_key", None) or getattr(error, "full_key", None) or found[1]
        return f"{key} is not set: give {key}=... (`triptych help {task} {key}` says what it is)"
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        return _unknown_choice(str(error.missing_cfg_file))
    if found := re.search(r"Could not override '([^']+)'\.", text):
        key = found[1]
        if foreign := _foreign_experiment(task, overrides):
            return foreign
        if isinstance(cause, OmegaConfBaseException) and "not in" not in str(cause):
            return _wrong_value(cause, task)
        if "No match in the defaults list" in text and (group := key.split("@")[0]) in groups.of_task(task):
            return _no_place(group, overrides)
        return _unknown_key(key.split("@")[0], task, overrides)
    if found := re.search(r"In '([^']+)'.*\n?Key '([^']+)' (?:is )?not in", text):
        return _unknown_in_file(found[1], found[2])
    if found := re.search(r"Key '([^']+)' (?:is )?not in", text):
        full = re.search(r"full_key: (\S+)", text)
        return _unknown_key(full[1] if full else found[1], task, overrides)
    for candidate in (cause, error):
        if isinstance(candidate, OmegaConfBaseException):
            return _wrong_value(candidate, task)
    first = text.strip().splitlines()[0] if text.strip() else type(error).__name__
    return f"the configuration does not compose: {first}. `triptych {task} --help` lists what can be set"


def _key_of_nothing(task: str, overrides: list[str]) -> str:
    """An override reaches into a part that is not chosen, as `ema.decay=0.9` does without `ema=...`."""
    config = compose_plain(task, [item for item in overrides if _chooses(item)])
    for override in overrides:
        place = override.partition("=")[0].lstrip("+").rpartition(".")[0]
        if foreign := _foreign_group(place, task):
            return foreign
        if place and OmegaConf.select(config, place) is None:
            options = groups.choices(place.replace(".", "/"))
            return f"{override} changes {place}, which is null: choose one first, {place}={' or '.join(options)}"
    return f"one of {', '.join(overrides)} changes a part that is null: choose the part first"


def _foreign_experiment(task: str, overrides: list[str]) -> str | None:
    """What to say of an experiment that is another task's."""
    chosen = next((item.partition("=")[2] for item in overrides if item.startswith("experiment=")), None)
    if chosen is None or chosen not in groups.choices("experiment") or chosen in groups.experiments(task):
        return None
    others = [f"`triptych {other}`" for other in groups.tasks() if chosen in groups.experiments(other)]
    return f"experiment={chosen} is for {' and '.join(others)}: it chooses what `triptych {task}` has not"


def _no_place(group: str, overrides: list[str]) -> str:
    """A choice of a group that the file behind another choice does not name."""
    outer, _, inner = group.partition("/")
    chosen = next((item for item in overrides if item.startswith(f"{outer}=")), outer)
    return (
        f"{group}=... has no place in {chosen}: its file does not choose a part there; add `- {inner}: null` to the "
        "defaults of that file, or make another choice"
    )


def _foreign_group(key: str, task: str) -> str | None:
    """What to say of a key below a group that other tasks choose from, and this one does not."""
    group = key.replace(".", "/").partition("/")[0]
    if group not in groups.groups() or group in groups.of_task(task):
        return None
    chosen = ", ".join(name for name in groups.of_task(task) if "/" not in name)
    setting = f"there is no setting {key!r}: " if "." in key else ""
    return f"{setting}`triptych {task}` has no choice of {group}: it chooses {chosen}"


def keys_of(task: str, overrides: list[str]) -> list[str]:
    """Every dotted key of the composed configuration; choices among `overrides` that exist are respected."""
    valid = [item for item in overrides if _chooses(item)]
    return flatten(compose_plain(task, valid))


def compose_plain(task: str, overrides: list[str]) -> DictConfig:
    """The configuration of a task outside a Hydra application, with what follows from the overrides."""
    followed_by = followed(overrides, groups.of_task(task))
    running = GlobalHydra.instance().hydra
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(groups.roots()[0]), version_base="1.3"):
            return compose(task, overrides=[*search_path(), *followed_by])
    finally:
        GlobalHydra.instance().hydra = running


def search_path() -> list[str]:
    """The override that adds the user's own `conf/`, where there is one."""
    extra = [f"'file://{path}'" for path in groups.roots()[1:]]
    return [f"hydra.searchpath=[{','.join(extra)}]"] if extra else []


def flatten(config: DictConfig, prefix: str = "") -> list[str]:
    found = []
    for key in config:
        found.append(f"{prefix}{key}")
        if OmegaConf.is_missing(config, key) or OmegaConf.is_interpolation(config, str(key)):
            continue
        if isinstance(value := config[key], DictConfig):
            found += flatten(value, f"{prefix}{key}.")
    return found


def _chooses(override: str) -> bool:
    key, _, value = override.lstrip("+").partition("=")
    return value in groups.choices(key)


def _unknown_choice(missing: str) -> str:
    group, _, choice = missing.removesuffix(".yaml").rpartition("/")
    known = list(groups.choices(group))
    if not known:
        return f"there is no group {group!r}: the groups are {', '.join(groups.groups())}"
    return f"{group}={choice} is not a choice of {group}.{_suggest(near(choice, known))} Choices: {', '.join(known)}"


def _unknown_in_file(choice: str, key: str) -> str:
    file = shown(groups.file_of(*choice.rsplit("/", 1))) if "/" in choice else f"{choice}.yaml"
    return (
        f"{file} sets {key!r}, which is no setting there. A part of your own, whose settings are not known, starts "
        "with `defaults: [/schema/own@_here_, _self_]`"
    )


def _unknown_key(key: str, task: str, overrides: list[str]) -> str:
    if foreign := _foreign_group(key, task):
        return foreign
    known = [item for item in keys_of(task, overrides) if not item.split(".")[-1].startswith("_")]
    same_name = [item for item in known if item.split(".")[-1] == key.split(".")[-1]]
    close = list(dict.fromkeys([*near(key, [*known, *groups.groups()]), *same_name]))[:3]
    help_line = f"`triptych help {task}` lists every key"
    return f"there is no setting {key!r}.{_suggest(close)} {help_line}"


def _wrong_value(error: OmegaConfBaseException, task: str) -> str:
    text = str(error.msg if hasattr(error, "msg") and error.msg else error).strip().splitlines()[0]
    key = getattr(error, "full_key", None)
    return f"{key}: {text}. `triptych help {task} {key}` says what it takes" if key else text


def _suggest(close: list[str]) -> str:
    return f" Did you mean {' or '.join(map(repr, close))}?" if close else ""


def is_composition_error(error: BaseException) -> bool:
    """Whether an error comes from composing a configuration, not from running a task."""
    return isinstance(error, (ConfigCompositionException, MissingConfigException, *COMPOSITION_ERRORS))


def shown(path: Path) -> str:
    """A path as short as it can be said from here."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)
