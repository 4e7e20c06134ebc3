"""Overrides as a user types them, made into overrides that Hydra's grammar reads the same way.

Hydra 1.3 reads `,` `=` `(` `:` and letters outside ASCII in a value as its own grammar, so a path such as
`data.root=/pictures/Größe (1)=a,b` fails or becomes a sweep. Here a value that is no valid single value is quoted, and
so is every value of a field that holds text.
"""

import re
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from triptych.command import groups
from triptych.command.following import followed
from triptych.errors import UserError
from triptych.schema.option import near
from triptych.schema.roots import positional, shorthand

_OVERRIDE = re.compile(r"^(?P<sign>\+\+|\+|~)?(?P<key>[^=\s]+)(?:=(?P<value>.*))?$", re.DOTALL)
# Hydra's own flags that take the next word.
_WITH_VALUE = ("--cfg", "-c", "--package", "-p", "--config-dir", "-cd")
_INTERPOLATION = re.compile(r"\$\{[^}]*\}")


def quote(value: str) -> str:
    """A Hydra string literal that reads back as exactly `value`."""
    escaped = re.sub(r"(\\*)'", r"\1\1\\'", value)
    trailing = len(escaped) - len(escaped.rstrip("\\"))
    return "'" + escaped + "\\" * trailing + "'"


def as_typed(arguments: list[str], text_keys: frozenset[str], task: str) -> list[str]:
    """Hydra's form of the overrides of `task` in `arguments`; flags (`-m`, `--cfg`) pass through.

    `text_keys` are the dotted keys whose values are text and are therefore never read as a number, a list or a sweep;
    `KEY=PATH` means `KEY.path=PATH` for the keys of which the task says so (`shorthand`), and bare words are the values
    of those that it takes so (`positional`).
    """
    arguments = _named(arguments, positional(task), task)
    sweep = any(argument in ("-m", "--multirun") for argument in arguments)
    chosen_from, short = groups.of_task(task), shorthand(task)
    overrides, flags = [], []
    for last, argument in zip(["", *arguments], arguments, strict=False):
        if argument.startswith("-") or last in _WITH_VALUE:
            flags.append(argument)
        else:
            overrides.append(_override(_written_out(argument, short), text_keys, sweep, chosen_from))
    # Hydra's parser wants the overrides side by side.
    return [*followed(overrides, chosen_from), *flags]


def _named(arguments: list[str], keys: tuple[str, ...], task: str) -> list[str]:
    """The arguments, with a key before each bare word: the first of `keys` that has no value yet."""
    if not keys:
        return arguments
    given = {argument.partition("=")[0] for argument in arguments}
    left = [key for key in keys if key not in given]
    named, values = [], 0
    for last, argument in zip(["", *arguments], arguments, strict=False):
        # A path may hold an equals sign, and then is no key with its value.
        bare = not argument.startswith(("-", "~")) and ("=" not in argument or Path(argument).exists())
        if not bare or last in _WITH_VALUE:
            named.append(argument)
            continue
        values += 1
        if values <= len(left):
            named.append(f"{left[values - 1]}={argument}")
    if values > len(left):
        usage = " ".join(map(str.upper, keys))
        raise UserError(
            f"{len(keys) - len(left) + values} values are given for {' and '.join(keys)}, which are {len(keys)}: "
            f"`triptych {task} {usage} [key=value ...]`"
        )
    return named


def _written_out(argument: str, short: frozenset[str]) -> str:
    key, equals, value = argument.partition("=")
    return f"{key}.path={value}" if equals and key.lstrip("+") in short else argument


def _override(argument: str, text_keys: frozenset[str], sweep: bool, chosen_from: list[str]) -> str:
    match = _OVERRIDE.match(argument)
    if match is None or (match["value"] is None and match["sign"] != "~"):
        raise UserError(_not_an_override(argument))
    sign, key, value = match["sign"] or "", match["key"], match["value"]
    if key == "resume":
        sign = ""  # it stands in every configuration: nothing to add
    if value is None:
        return argument
    if value in ("", "''", '""') and key in text_keys:
        raise UserError(f"{key}= is empty: give it a value (is a variable of the shell unset?) or leave it out")
    slashed = key.replace(".", "/")
    if value == "null" and slashed in chosen_from:
        return f"~{slashed}"  # Hydra's word for no choice
    if slashed in chosen_from and not value.startswith(("{", "$", "[")) and not value[:1].isdigit():
        # model.tower.mixer=softmax chooses from the group, as model/tower/mixer=softmax does; data.image_size=32 is a
        # value, though data.image_size=native is a choice.
        key = slashed
    return f"{sign}{key}={_value(key, value, key in text_keys, sweep)}"


def _value(key: str, value: str, text: bool, sweep: bool) -> str:
    quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "'\""
    if value in ("", "null") or quoted or _INTERPOLATION.search(value):
        return value
    if text and not (sweep and "," in value):
        return quote(value)
    try:
        parsed = OverridesParser.create().parse_override(f"key={value}")
    except HydraException:
        return quote(value)
    if not parsed.is_sweep_override() or sweep:
        return value
    if key in groups.groups():
        raise UserError(f"{key}={value} names several choices: run them one after the other with -m, or name one")
    return quote(value)


def _not_an_override(argument: str) -> str:
    if Path(argument).exists():
        return (
            f"{argument!r} is a path without a key: say what it is, such as data.root={argument} or resume={argument}"
        )
    tasks = near(argument, list(groups.tasks()))
    hint = f" Did you mean the task {tasks[0]!r}?" if tasks else ""
    return f"{argument!r} is not an override: overrides are written key=value, for example optimizer.lr=0.001.{hint}"
