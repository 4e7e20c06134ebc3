"""Whatever way processes cut a tensor, their pieces are the whole, each element once."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from triptych.parallel.pieces import Cut, Layout, Piece, layout_of


@given(
    peers=st.integers(1, 3),
    splits=st.lists(st.integers(1, 3), min_size=1, max_size=3),
    dim=st.integers(0, 1),
    other=st.integers(1, 4),
)
def test_pieces_of_all_peers_are_the_whole(peers: int, splits: list[int], dim: int, other: int) -> None:
    """Each tensor-parallel peer holds a share of each split."""
    sizes = [split * peers for split in splits]
    shape = (sum(sizes), other) if dim == 0 else (other, sum(sizes))
    whole = torch.arange(shape[0] * shape[1], dtype=torch.float32).view(shape)
    found = torch.full_like(whole, -1)
    for peer in range(peers):
        ranges, start = [], 0
        for size in sizes:
            share = size // peers
            ranges.append((start + peer * share, start + (peer + 1) * share))
            start += size
        here = torch.cat([whole.narrow(dim, start, stop - start) for start, stop in ranges], dim)
        layout = layout_of(here, Cut(dim, sum(sizes), tuple(ranges)))
        assert layout.shape == tuple(whole.shape)
        assert torch.equal(layout.local_of(whole, here), here)
        for piece in layout.pieces:
            assert (piece.of_whole(found) == -1).all()
            piece.of_whole(found).copy_(piece.of_local(here))
    assert torch.equal(found, whole)


def test_a_scalar_is_one_piece() -> None:
    layout = layout_of(torch.tensor(3.0), None)
    assert layout == Layout((), (), (Piece((), (), ()),))
    assert layout.local_of(torch.tensor(3.0), torch.tensor(0.0)) == 3
