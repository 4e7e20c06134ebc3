"""Faults of single images: what cannot be read, and what is read otherwise than one may think."""

from collections import Counter
from collections.abc import Callable
from pathlib import PurePath

from triptych.data.decode import EXTENSIONS, FORMATS
from triptych.doctor.crowd import Split
from triptych.doctor.findings import Finding, Severity, finding
from triptych.doctor.look import Seen

SMALL_SIDE, LARGE_PIXELS, LONG_ASPECT = 16, 25_000_000, 5.0
"""A side below the first, in pixels, is very small; more pixels than the second are very many; a longer side above the
third, of the shorter, is extreme."""

_ENDINGS = {
    "JPEG": ("jpg", "jpeg"), "PNG": ("png",), "WEBP": ("webp",), "BMP": ("bmp",), "GIF": ("gif",),
    "TIFF": ("tif", "tiff"), "PPM": ("ppm", "pgm"), "MPO": ("jpg", "jpeg"),
}  # fmt: skip
_GREY = ("L", "1", "LA", "I", "I;16", "I;16B", "I;16L")


def unreadable(splits: list[Split]) -> list[Finding]:
    """Files that are not read at all."""
    kinds = {
        "empty": ("empty_file", "files without a byte", "copy them again or remove them"),
        "unopened": ("unopened_file", "files that cannot be opened", "restore them, or the right to read them"),
        "no_image": (
            "no_image", "files that are no images, whatever their names say",
            f"remove them; read are {', '.join(FORMATS)}",
        ),
        "corrupt": ("corrupt_image", "images that are damaged or cut short", "copy them again or remove them"),
    }  # fmt: skip
    found = []
    for fault, (kind, text, advice) in kinds.items():
        names = [
            f"{split.source.name(row)} ({seen.reason})" if fault in ("unopened", "corrupt") else split.source.name(row)
            for split in splits
            for row, seen in enumerate(split.seen)
            if seen.fault == fault
        ]
        found += finding(kind, "error", f"{text}: training skips them, and stops where they are many", names, advice)
    return found


def surprises(splits: list[Split]) -> list[Finding]:
    """Images that are read, but perhaps not as their owner sees them."""
    seen = [each for split in splits for each in split.seen if not each.fault]
    count = len(seen)
    alpha, grey = sum(each.alpha for each in seen), sum(each.mode in _GREY for each in seen)
    mixed_alpha: Severity = "warning" if 0 < alpha < count else "note"
    return [
        *_where(splits, "several_frames", "warning", "animations or files of several pages: the first frame is read",
                lambda each: each.frames > 1 and each.format != "MPO", "save the frame that you mean as an image"),
        *_where(splits, "cmyk", "warning", "CMYK images, made for print: their colours change when they become RGB",
                lambda each: each.mode == "CMYK", "convert them to RGB with a colour profile"),
        *_where(splits, "sixteen_bit", "warning", "images of 16 or more bits a channel: reduced to 8 bits",
                lambda each: each.mode == "F" or each.mode.startswith("I"),
                "scale their values to 8 bits yourself if they do not use the full range"),
        *_where(splits, "transparent", mixed_alpha,
                "images with transparency: laid over white" + (", and others have none" if alpha < count else ""),
                lambda each: each.alpha, "lay them over the background that new images will have"),
        *_where(splits, "grey", "note",
                "grey images among coloured ones: read as RGB" if grey < count else "all images are grey: read as RGB",
                lambda each: each.mode in _GREY,
                "data.train.channels=1 data.mean=[0.5] data.std=[0.25] reads all as grey" if grey == count
                else "see that grey is not the mark of one class"),
        *_where(splits, "turned", "note", "images that their EXIF data turn: read upright", lambda each: each.turned,
                "nothing to do; other programs may show them lying"),
        *_misnamed(splits),
    ]  # fmt: skip


def sizes(splits: list[Split]) -> list[Finding]:
    """Images of unusual size or shape."""
    counts = Counter(each.size for split in splits for each in split.seen if not each.fault)
    found = [
        *_where(splits, "very_small", "warning", f"images with a side below {SMALL_SIDE} pixels: little can be seen",
                lambda each: min(each.size) < SMALL_SIDE, "remove them where they are thumbnails or icons"),
        *_where(splits, "very_large", "warning",
                f"images of more than {LARGE_PIXELS / 1e6:.0f} million pixels: slow to read",
                lambda each: each.size[0] * each.size[1] > LARGE_PIXELS, "make them smaller once, before training"),
        *_where(splits, "extreme_aspect", "warning",
                f"images more than {LONG_ASPECT:g} times as long as wide: most of them is cut off",
                lambda each: max(each.size) > LONG_ASPECT * min(each.size), "cut them to the part that matters"),
    ]  # fmt: skip
    if len(counts) > 1:
        common = [f"{width} x {height} ({times} images)" for (width, height), times in counts.most_common(5)]
        found.append(
            Finding(
                "mixed_sizes", "note", f"images of {len(counts)} different sizes: all are resized", len(counts),
                tuple(common), "nothing to do",
            )
        )  # fmt: skip
    return found


def _misnamed(splits: list[Split]) -> list[Finding]:
    names = []
    for split in splits:
        for row in split.where(lambda each: each.format in _ENDINGS):
            name, kind = split.source.name(row), split.seen[row].format
            ending = PurePath(name).suffix[1:].lower()
            if ending in EXTENSIONS and ending not in _ENDINGS[kind]:
                names.append(f"{name} (is {kind})")
    return finding("misnamed", "note", "images of another format than their names say: read as what they are", names,
                   "nothing to do here; other programs may stumble")  # fmt: skip


def _where(
    splits: list[Split], kind: str, severity: Severity, text: str, condition: Callable[[Seen], bool], advice: str
) -> list[Finding]:
    names = [name for split in splits for name in split.names(split.where(condition))]
    return finding(kind, severity, text, names, advice)
