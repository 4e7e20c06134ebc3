"""Retrieval both ways between images and texts, or any two modalities: exact ranks, ties counted fairly, no matrix of
all scores.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

TOLERANCE = 1e-9
"""Scores of unit vectors that are closer than this are tied: less than float32 features can tell, far more than
float64 products err."""
_PAIRS = 2**20  # relevant pairs that are looked at a time
_MANY = 32  # relevant items from which on a group is multiplied whole; fewer are cheaper pair by pair


@dataclass(frozen=True)
class Ranks:
    """Where each query found its best relevant item.

    Items with equal scores have no order, and whatever sorts them invents one. Here every order of them is as likely as
    the others, so that copies of a picture or a caption neither help nor hurt.

    Args:
        above: items with a higher score than the best relevant one.
        tied: items with its score, itself included.
        relevant: relevant items among the tied.
    """

    above: Int[np.ndarray, " queries"]
    tied: Int[np.ndarray, " queries"]
    relevant: Int[np.ndarray, " queries"]

    def recall(self, k: int) -> Float[np.ndarray, " queries"]:
        """Probability that a relevant item is among the first `k`: 0 or 1 where nothing is tied across the bound."""
        drawn = np.clip(k - self.above, 0, self.tied)  # of the tied ones, how many are among the first k
        missed = np.ones(len(drawn))
        for place in range(int(drawn.max(initial=0))):
            left = np.maximum(self.tied - self.relevant - place, 0) / np.maximum(self.tied - place, 1)
            missed *= np.where(place < drawn, left, 1.0)
        return 1.0 - missed

    @property
    def expected(self) -> Float[np.ndarray, " queries"]:
        """The mean rank of the first relevant item, from 1, over all orders of the tied ones."""
        return self.above + (self.tied + 1) / (self.relevant + 1)


class Counts(NamedTuple):
    """Items above, and at least level with, the best relevant one of each query; those of several processes add up."""

    image_above: Int[np.ndarray, " images"]
    image_level: Int[np.ndarray, " images"]
    text_above: Int[np.ndarray, " texts"]
    text_level: Int[np.ndarray, " texts"]


class Retrieval:
    """Images and texts that look for each other by the product of their features.

    A text is relevant for an image where both are of the same group: an image and its captions are one, or all images
    and captions of a concept. An image with several captions has found one when it has found any.

    Memory beside the features is that of one tile of scores; both directions are counted in one pass. Scores are
    computed in float64, so that equal features tie wherever in a tile they lie.

    Args:
        images: features of unit length.
        texts: likewise.
        image_groups: the group of each image.
        text_groups: the group of each text.
        device: to compute on; it needs float64 (CPU or CUDA).
        tile: images, and texts, that are compared at a time.

    Raises:
        ValueError: an image or a text has nothing relevant on the other side.
    """

    def __init__(
        self,
        images: Float[Tensor, "images dim"],
        texts: Float[Tensor, "texts dim"],
        image_groups: Int[np.ndarray, " images"],
        text_groups: Int[np.ndarray, " texts"],
        device: torch.device | str = "cpu",
        tile: int = 1024,
    ) -> None:
        alone = np.setxor1d(image_groups, text_groups)
        if len(alone):
            raise ValueError(f"The group {alone[0]} is on one side only; each image and each text needs a counterpart.")
        self.images, self.texts = images.to(device), texts.to(device)
        self.tile = tile
        self._image_best, self._image_relevant = _best(self.images, self.texts, image_groups, text_groups)
        self._text_best, self._text_relevant = _best(self.texts, self.images, text_groups, image_groups)

    def count(self, rank: int = 0, world_size: int = 1) -> Counts:
        """The share of process `rank`: every `world_size`-th tile of images against all texts."""
        device = self.images.device
        zeros = [torch.zeros(len(side), dtype=torch.int64, device=device) for side in (self.images, self.texts) * 2]
        image_above, text_above, image_level, text_level = zeros
        starts = range(0, len(self.images), self.tile)
        for start in starts[rank::world_size]:
            rows = slice(start, start + self.tile)
            images, image_best = self.images[rows].double(), self._image_best[rows, None]
            for begin in range(0, len(self.texts), self.tile):
                columns = slice(begin, begin + self.tile)
                scores = images @ self.texts[columns].double().T
                text_best = self._text_best[columns]
                image_above[rows] += _number(scores > image_best + TOLERANCE, 1)
                image_level[rows] += _number(scores >= image_best - TOLERANCE, 1)
                text_above[columns] += _number(scores > text_best + TOLERANCE, 0)
                text_level[columns] += _number(scores >= text_best - TOLERANCE, 0)
        return Counts(*(each.cpu().numpy() for each in (image_above, image_level, text_above, text_level)))

    def ranks(self, parts: list[Counts]) -> tuple[Ranks, Ranks]:
        """From image to text, and from text to image, out of the counts of all processes."""
        image_above, image_level = sum(part.image_above for part in parts), sum(part.image_level for part in parts)
        text_above, text_level = sum(part.text_above for part in parts), sum(part.text_level for part in parts)
        return (
            Ranks(np.asarray(image_above), np.asarray(image_level - image_above), self._image_relevant),
            Ranks(np.asarray(text_above), np.asarray(text_level - text_above), self._text_relevant),
        )


def retrieve(
    images: Float[Tensor, "images dim"],
    texts: Float[Tensor, "texts dim"],
    image_of_text: Int[np.ndarray, " texts"],
    device: torch.device | str = "cpu",
    tile: int = 1024,
) -> tuple[Ranks, Ranks]:
    """From image to text and from text to image, where text `i` is a caption of image `image_of_text[i]`.

    Raises:
        ValueError: see `Retrieval`.
    """
    search = Retrieval(images, texts, np.arange(len(images)), image_of_text, device, tile)
    return search.ranks([search.count()])


def _number(mask: Bool[Tensor, "rows columns"], dim: int) -> Int[Tensor, " kept"]:
    """How many are true; as bytes, for torch counts those many times faster than truth values."""
    return mask.view(torch.uint8).sum(dim, dtype=torch.int32)


def _best(
    queries: Tensor, items: Tensor, query_groups: np.ndarray, item_groups: np.ndarray
) -> tuple[Tensor, Int[np.ndarray, " queries"]]:
    """The score of each query's best relevant item, float64, and how many relevant items have it."""
    order = np.argsort(item_groups, kind="stable")
    ordered = item_groups[order]
    first = np.searchsorted(ordered, query_groups, "left")
    number = np.searchsorted(ordered, query_groups, "right") - first
    best = torch.empty(len(queries), dtype=torch.float64, device=queries.device)
    relevant = np.empty(len(queries), dtype=np.int64)
    for group in np.unique(query_groups[number >= _MANY]):
        rows = np.flatnonzero(query_groups == group)
        members = order[first[rows[0]] : first[rows[0]] + number[rows[0]]]
        found = items[torch.from_numpy(members).to(queries.device)].double()
        size = max(1, _PAIRS // len(members))
        for some in (rows[start : start + size] for start in range(0, len(rows), size)):
            chosen = torch.from_numpy(some).to(queries.device)
            scores = queries[chosen].double() @ found.T
            highest = scores.amax(1, keepdim=True)
            best[chosen] = highest[:, 0]
            relevant[some] = _number(scores >= highest - TOLERANCE, 1).cpu().numpy()
    rows = np.flatnonzero(number < _MANY)
    first, number = first[rows], number[rows]
    ends = np.cumsum(number)
    start = 0
    while start < len(rows):
        before = ends[start] - number[start]
        stop = max(start + 1, int(np.searchsorted(ends, before + _PAIRS, "right")))
        of_query = np.repeat(np.arange(start, stop), number[start:stop])
        place = np.arange(len(of_query)) - np.repeat(ends[start:stop] - number[start:stop] - before, number[start:stop])
        of_item = order[first[of_query] + place]
        scores = _products(queries, items, torch.from_numpy(rows[of_query]), torch.from_numpy(of_item))
        local = torch.from_numpy(of_query - start).to(queries.device)
        highest = torch.full((stop - start,), -torch.inf, dtype=torch.float64, device=queries.device)
        highest.scatter_reduce_(0, local, scores, "amax")
        level = (scores >= highest[local] - TOLERANCE).cpu().numpy()
        best[torch.from_numpy(rows[start:stop]).to(queries.device)] = highest
        relevant[rows[start:stop]] = np.bincount((of_query - start)[level], minlength=stop - start)
        start = stop
    return best, relevant


def _products(
    queries: Tensor, items: Tensor, of_query: Int[Tensor, " pairs"], of_item: Int[Tensor, " pairs"]
) -> Float[Tensor, " pairs"]:
    """Scores of pairs, float64."""
    device, rows = queries.device, max(1, _PAIRS // queries.shape[1])
    parts = zip(of_query.split(rows), of_item.split(rows), strict=True)
    return torch.cat([(queries[q.to(device)].double() * items[i.to(device)].double()).sum(1) for q, i in parts])
