"""What is said of a picture: captions that people wrote, or ones composed of its name and tags.

A caption part reads the fields of a sample (the members of its JSON, the columns of its row). It draws from the
generator that it is given and from nothing else, so that a sample's caption is a function of its generator's seed.
"""

import string
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import torch

from triptych.data.labels import is_empty
from triptych.data.source import BadSample
from triptych.errors import UserError

Fields = Mapping[str, Any]
"""One sample's fields by their names; a list is several values of one field."""


@runtime_checkable
class Caption(Protocol):
    """Captions of a sample out of its fields.

    Attributes:
        fields: names of the fields that are read.
    """

    @property
    def fields(self) -> list[str]: ...

    def draw(self, fields: Fields, generator: torch.Generator) -> str:
        """One caption, for training.

        Raises:
            BadSample: there is none.
        """
        ...

    def all(self, fields: Fields) -> list[str]:
        """Every caption, at least one, for evaluation: the same ones each time.

        Raises:
            BadSample: there is none.
        """
        ...

    def corpus(self, fields: Fields) -> list[str]:
        """Texts that have every word of every caption that could be drawn; none where there is no caption."""
        ...


class WrittenCaption:
    """Captions that stand in one or more fields; training draws one of them, each as likely as the others.

    Args:
        fields: their names, such as `caption`; of WebDataset shards `txt` is the text of the member `key.txt`. A field
            may hold a list of captions.
        separator: divides several captions in one text, such as `|`; None: a text is one caption.

    Raises:
        UserError: no field is named, or one twice.
    """

    def __init__(self, fields: Sequence[str] = ("caption",), separator: str | None = None) -> None:
        if not fields or len(set(fields)) != len(fields):
            raise UserError(f"caption.fields is {list(fields)}: name one field or more, each once")
        if separator == "":
            raise UserError("caption.separator is empty: leave it null where a text is one caption")
        self.fields = list(fields)
        self.separator = separator

    def draw(self, fields: Fields, generator: torch.Generator) -> str:
        """One of the captions."""
        texts = self.all(fields)
        return texts[_below(len(texts), generator)] if len(texts) > 1 else texts[0]

    def all(self, fields: Fields) -> list[str]:
        """The captions that are not empty, in the order of `fields`."""
        found = [text for name in self.fields for text in _texts(name, fields.get(name))]
        if self.separator is not None:
            found = [part.strip() for text in found for part in text.split(self.separator)]
        texts = [text for text in found if text]
        if not texts:
            raise BadSample(f"no caption: {', '.join(self.fields)} {'is' if len(self.fields) == 1 else 'are'} empty")
        return texts

    def corpus(self, fields: Fields) -> list[str]:
        """The captions."""
        try:
            return self.all(fields)
        except BadSample:
            return []


class ComposedCaption:
    """Captions for pictures that have a name and tags, and no sentence: a template drawn at random, and filled.

    `{name}` stands for the field `name`; a list puts in a few of its entries, drawn at random, in random order and with
    commas. `{a name}` puts the right indefinite article before it. Names of groups such as `animal-mammal` lose their
    hyphens. A template is drawn only where none of its fields is empty.

    Args:
        templates: such as `a drawing of {a caption}, {tags}`. The first one makes the caption of evaluation; a
            template that stands there twice is drawn twice as often.
        most_tags: entries of a list that a caption takes at most; training draws their number, from 1 on.
        plain: fields whose hyphens become spaces.

    Raises:
        UserError: no template, one with a mistake or without a field, or `most_tags` below 1.
    """

    def __init__(self, templates: Sequence[str], most_tags: int = 3, plain: Sequence[str] = ()) -> None:
        if not templates:
            raise UserError("caption.templates is empty: give one or more, such as 'a drawing of {caption}'")
        if most_tags < 1:
            raise UserError(f"caption.most_tags is {most_tags}; it must be at least 1")
        self.templates = [_parsed(template) for template in templates]
        self.most_tags = most_tags
        self.plain = frozenset(plain)
        named = [name for template in self.templates for _, name, _ in template if name]
        self.fields = list(dict.fromkeys(named))

    def draw(self, fields: Fields, generator: torch.Generator) -> str:
        """A template that can be filled, filled."""
        entries = self._entries(fields)
        fit = self._fit(entries)
        template = fit[_below(len(fit), generator)]
        lists = {name for name in self.fields if isinstance(fields.get(name), list)}
        return self._filled(
            template, lambda name: self._some(entries[name], generator) if name in lists else entries[name]
        )

    def all(self, fields: Fields) -> list[str]:
        """The first template that can be filled, with the first entries of each list."""
        entries = self._entries(fields)
        return [self._filled(self._fit(entries)[0], lambda name: entries[name][: self.most_tags])]

    def corpus(self, fields: Fields) -> list[str]:
        """Every template that can be filled, with all entries of each list."""
        entries = self._entries(fields)
        return [self._filled(template, entries.__getitem__) for template in self._fitting(entries)]

    def _entries(self, fields: Fields) -> dict[str, list[str]]:
        return {name: _texts(name, fields.get(name)) for name in self.fields}

    def _fitting(self, entries: dict[str, list[str]]) -> "list[_Template]":
        return [template for template in self.templates if all(entries[name] for _, name, _ in template if name)]

    def _fit(self, entries: dict[str, list[str]]) -> "list[_Template]":
        fit = self._fitting(entries)
        if not fit:
            empty = [name for name, texts in entries.items() if not texts]
            raise BadSample(f"no caption: each template needs a field that is empty ({', '.join(empty)})")
        return fit

    def _some(self, entries: list[str], generator: torch.Generator) -> list[str]:
        """Up to `most_tags` entries, in random order."""
        count = 1 + _below(min(self.most_tags, len(entries)), generator)
        chosen = torch.rand(len(entries), dtype=torch.float64, generator=generator).argsort(stable=True)[:count]
        return [entries[place] for place in chosen.tolist()]

    def _filled(self, template: "_Template", entries_of: Callable[[str], list[str]]) -> str:
        parts = []
        for text, name, article in template:
            parts.append(text)
            if name:
                joined = ", ".join(entries_of(name))
                joined = joined.replace("-", " ") if name in self.plain else joined
                parts.append(_with_article(joined) if article else joined)
        return "".join(parts)


_Template = list[tuple[str, str, bool]]
"""Texts, each with the name of the field that follows it (or none) and whether that takes an article."""


def _parsed(template: str) -> _Template:
    try:
        parts = list(string.Formatter().parse(template))
    except ValueError as error:
        raise UserError(f"caption template {template!r}: {error}") from error
    parsed: _Template = []
    for text, name, form, conversion in parts:
        if name is not None and (not name.removeprefix("a ").strip() or form or conversion):
            raise UserError(f"caption template {template!r}: a field is written {{name}} or {{a name}}")
        parsed.append((text, (name or "").removeprefix("a ").strip(), bool(name and name.startswith("a "))))
    if not any(name for _, name, _ in parsed):
        raise UserError(f"caption template {template!r} has no field: write one as {{name}}")
    return parsed


def _with_article(text: str) -> str:
    return f"an {text}" if text[:1].lower() in set("aeiou") else f"a {text}"


def _texts(name: str, value: Any) -> list[str]:
    """The texts of a field; None for an empty one.

    Raises:
        UserError: it holds something else, such as fields of its own.
    """
    if isinstance(value, dict):
        raise UserError(f"the field {name!r} holds fields of its own ({', '.join(map(str, value))}), not a caption")
    if isinstance(value, list):
        return [text for entry in value for text in _texts(name, entry)]
    return [] if is_empty(value) else [str(value).strip()]


def _below(count: int, generator: torch.Generator) -> int:
    """A number from 0 to `count - 1`, each as likely as the others."""
    return int(torch.rand((), dtype=torch.float64, generator=generator).item() * count)
