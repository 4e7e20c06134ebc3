"""What processes tell of themselves is read back, and what is broken is left out."""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from triptych.rundir.vitals import FOLDER, Vitals, read_vitals


def told(rank: int, **changed: object) -> Vitals:
    given: dict[str, object] = {
        "rank": rank, "host": "node", "pid": 7, "time": 100.0, "phase": "training", "step": 3, "total": 10,
    }  # fmt: skip
    return Vitals(**(given | changed))  # pyright: ignore[reportArgumentType]


def test_all_ranks_are_read_in_order_and_the_newest_counts(tmp_path: Path) -> None:
    for rank in (11, 2, 0):
        told(rank).write(tmp_path)
    newer = told(2, step=4, wait_share=0.25, memory=123)
    newer.write(tmp_path)
    assert read_vitals(tmp_path) == [told(0), newer, told(11)]
    assert read_vitals(tmp_path / "nothing") == []


@given(st.binary(max_size=40) | st.sampled_from([b"{}", b"[]", b'{"rank": "0"}', b'{"rank": 0, "pid": 1, "step": []}']))
def test_what_is_broken_is_left_out(content: bytes) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder)
        told(1).write(run)
        (run / FOLDER / "rank_00000.json").write_bytes(content)
        assert read_vitals(run) == [told(1)]
