"""The styles: which package draws them, under which licence, and on which side of the split they lie."""

from dataclasses import dataclass

from . import packages
from .packages import Package


@dataclass(frozen=True)
class Style:
    """One style. Styles of one `hand` are by the same artists and partly the same drawings: never on two sides."""

    name: str
    package: Package
    hand: str
    held_out: bool
    title: str
    author: str
    source: str
    licence: str


STYLES = (
    Style(
        "noto",
        packages.NOTO,
        hand="noto",
        held_out=False,
        title="Noto Emoji",
        author="Google Inc",
        source="https://github.com/googlefonts/noto-emoji",
        licence="Apache-2.0",
    ),
    Style(
        "noto-v1",
        packages.NOTO_V1,
        hand="noto",
        held_out=False,
        title="Noto Emoji (v1)",
        author="Google Inc",
        source="https://github.com/googlefonts/noto-emoji",
        licence="Apache-2.0",
    ),
    Style(
        "openmoji",
        packages.OPENMOJI,
        hand="openmoji",
        held_out=False,
        title="OpenMoji",
        author="OpenMoji, the open-source emoji and icon project",
        source="https://github.com/hfg-gmuend/openmoji",
        licence="CC-BY-SA-4.0",
    ),
    Style(
        "fluent-flat",
        packages.FLUENT_FLAT,
        hand="fluent",
        held_out=False,
        title="Fluent Emoji Flat",
        author="Microsoft Corporation",
        source="https://github.com/microsoft/fluentui-emoji",
        licence="MIT",
    ),
    Style(
        "fluent-3d",
        packages.FLUENT_3D,
        hand="fluent",
        held_out=False,
        title="Fluent Emoji 3D",
        author="Microsoft Corporation; packaged by LobeHub",
        source="https://github.com/lobehub/fluent-emoji",
        licence="MIT",
    ),
    Style(
        "emojione",
        packages.EMOJIONE,
        hand="emojione",
        held_out=False,
        title="Emoji One (Colored)",
        author="Emoji One",
        source="https://github.com/EmojiTwo/emojitwo",
        licence="CC-BY-4.0",
    ),
    Style(
        "twemoji",
        packages.TWEMOJI,
        hand="twemoji",
        held_out=True,
        title="Twitter Emoji",
        author="Twitter, Inc and other contributors",
        source="https://github.com/jdecked/twemoji",
        licence="CC-BY-4.0",
    ),
)
# Sets that were looked at and left out; their drawings enter the table of likeness in the README only.
LEFT_OUT = {"emojione-v1": packages.EMOJIONE_V1, "fxemoji": packages.FXEMOJI}
HELD_OUT_STYLE = next(style.name for style in STYLES if style.held_out)
EVERYWHERE = ("openmoji", HELD_OUT_STYLE)  # a concept must be in these, and in one further hand


def hands(names: set[str]) -> set[str]:
    """The hands that drew the styles `names`."""
    return {style.hand for style in STYLES if style.name in names}
