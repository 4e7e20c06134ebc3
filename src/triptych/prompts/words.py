"""Templates and class names: sets that ship with the package, files, and what is typed on the command line."""

from pathlib import Path

from triptych.data.files import suggest
from triptych.errors import UserError
from triptych.models.zero_shot import PLACE

_HERE = Path(__file__).parent
_PROMPTS, _NAMES = _HERE / "templates", _HERE / "class_names"
_COMMENT = "# "


def template_sets() -> list[str]:
    """Names of the sets of templates that ship with the package."""
    return sorted(file.stem for file in _PROMPTS.glob("*.txt"))


def class_sets() -> list[str]:
    """Names of the lists of class names that ship with the package."""
    return sorted(file.stem for file in _NAMES.glob("*.txt"))


def templates_of(given: str) -> list[str]:
    """The templates that `given` names: parts divided by `|`, each a template with `{}`, a set, or a file with a
    template a line. Each template counts once.

    Raises:
        UserError: no such set or file, or a template without `{}`.
    """
    parts = [part.strip() for part in given.split("|")]
    if not any(parts):
        raise UserError(
            f"templates is empty: give 'a photo of a {PLACE}.', a file or a set ({', '.join(template_sets())})"
        )
    return list(dict.fromkeys(template for part in parts if part for template in _templates(part)))


def _templates(part: str) -> list[str]:
    if PLACE in part:
        return [part]
    path = Path(part).expanduser()
    if part in template_sets():
        path = _PROMPTS / f"{part}.txt"
    elif not path.is_file():
        if " " in part and path.suffix != ".txt":
            raise UserError(f"the template {part!r} has no {PLACE}, where the name of the class is put")
        raise UserError(f"templates={part} is neither a file nor a set of templates{suggest(part, template_sets())}")
    found = lines_of(path, "templates")
    for template in found:
        if PLACE not in template:
            raise UserError(f"templates={part}: {template!r} has no {PLACE}, where the name of the class is put")
    return found


def lines_of(path: Path, key: str) -> list[str]:
    """The lines of a text file that are neither empty nor comments (`# ` at the front).

    Raises:
        UserError: it cannot be read, or has none.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise UserError(f"{key}={path} cannot be read: {reason}") from error
    lines = [line.strip() for line in text.splitlines()]
    found = [line for line in lines if line and line != "#" and not line.startswith(_COMMENT)]
    if not found:
        raise UserError(f"{key}={path} is empty: one a line is expected")
    return found


def spoken(name: str) -> str:
    """A class's name as one says it: that of a folder without `_`."""
    return " ".join(name.replace("_", " ").split())


def labels_of(given: str) -> list[str]:
    """The labels in `a cat,a dog`. Raises UserError where there is none, or one twice."""
    found = [part.strip() for part in given.split(",") if part.strip()]
    if not found:
        raise UserError("labels is empty: give what the image could show, such as labels='a cat,a dog'")
    twice = next((each for each in found if found.count(each) > 1), None)
    if twice is not None:
        raise UserError(f"labels names {twice!r} twice")
    return found


class ClassFile:
    """The names in `classes=...`: a list that ships with the package, or a file with a name a line, or with
    `CLASS<tab>NAME` a line, which gives the classes of a data set their spoken names.

    Raises:
        UserError: no such list or file; lines of both kinds, or a class twice.
    """

    def __init__(self, given: str) -> None:
        self.given = given
        path = _NAMES / f"{given}.txt" if given in class_sets() else Path(given).expanduser()
        if not path.is_file():
            near = suggest(given, class_sets())
            raise UserError(f"classes={given} is neither a file nor a list that ships with triptych{near}")
        lines = lines_of(path, "classes")
        tabbed = [line for line in lines if "\t" in line]
        if tabbed and len(tabbed) < len(lines):
            plain = next(line for line in lines if "\t" not in line)
            raise UserError(f"classes={given}: some lines are CLASS<tab>NAME and others, such as {plain!r}, are not")
        self.mapping: dict[str, str] | None = None
        self.names = lines
        if tabbed:
            pairs = [line.split("\t", 1) for line in lines]
            keys = [key.strip() for key, _ in pairs]
            twice = next((key for key in keys if keys.count(key) > 1), None)
            if twice is not None:
                raise UserError(f"classes={given} names the class {twice!r} twice")
            self.names = [name.strip() for _, name in pairs]
            self.mapping = dict(zip(keys, self.names, strict=True))

    def fit(self, classes: list[str], name: str) -> tuple[list[str], list[int]]:
        """The names to choose from, and the place of each of a data set's `classes` among them.

        A file with names alone may name more classes than the set has. Where it names none of them, as with folders
        called n01440764, it must have as many, in the same order.

        Args:
            classes: of the data set.
            name: of the data set, for messages.

        Raises:
            UserError: the file does not fit the data set.
        """
        if self.mapping is not None:
            return self._mapped(self.mapping, classes, name)
        known = [self._place(spoken(each)) for each in classes]
        missing = [each for each, place in zip(classes, known, strict=True) if place is None]
        if not missing:
            return self.names, [place for place in known if place is not None]
        if len(missing) == len(classes) == len(self.names):
            return self.names, list(range(len(classes)))
        if len(missing) < len(classes):
            raise UserError(
                f"classes={self.given} names {len(classes) - len(missing)} of the {len(classes)} classes of the set "
                f"{name!r} and not {missing[0]!r}{suggest(missing[0], self.names)}"
            )
        raise UserError(
            f"classes={self.given} names {len(self.names)} classes, and the set {name!r} has {len(classes)} (the first "
            f"is {classes[0]!r}): give as many in the order of its classes, its own names, or CLASS<tab>NAME a line"
        )

    def _place(self, name: str) -> int | None:
        """The first line with this name; case counts only where two names differ in nothing else."""
        same = [place for place, each in enumerate(self.names) if spoken(each).lower() == name.lower()]
        return next((place for place in same if spoken(self.names[place]) == name), same[0] if same else None)

    def _mapped(self, mapping: dict[str, str], classes: list[str], name: str) -> tuple[list[str], list[int]]:
        missing = [each for each in classes if each not in mapping]
        if missing:
            raise UserError(
                f"classes={self.given} has no name for the class {missing[0]!r}"
                f"{f' and {len(missing) - 1} more' if len(missing) > 1 else ''} of the set {name!r}"
                f"{suggest(missing[0], list(mapping))}"
            )
        place = {each: place for place, each in enumerate(mapping)}
        return self.names, [place[each] for each in classes]
