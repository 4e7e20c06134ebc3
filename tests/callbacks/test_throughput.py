"""Rates are those of training, with validation and the first step taken out."""

import io

import pytest
import torch
from rich.console import Console

from triptych.callbacks import words
from triptych.callbacks.display import LiveDisplay, PlainDisplay, Status, display
from triptych.callbacks.throughput import LoaderClock, Throughput, batch_size


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_validation_and_the_first_step_do_not_count() -> None:
    clock = Clock()
    loader = LoaderClock(clock)
    speed = Throughput(clock, loader)
    clock.now += 50
    speed.step(8)
    for _ in range(10):
        loader.start("[_TrainingEpochLoop].train_dataloader_next")
        clock.now += 0.1
        loader.stop("[_TrainingEpochLoop].train_dataloader_next")
        clock.now += 0.4
        speed.step(8)
        speed.pause()
        clock.now += 5
        speed.resume()
    assert speed.samples_per_second == pytest.approx(16)
    recent = speed.recent
    assert recent is not None
    assert recent.samples_per_second == pytest.approx(16)
    assert recent.seconds_per_step == pytest.approx(0.5)
    assert recent.wait_share == pytest.approx(0.2)
    assert speed.pause_per_step == pytest.approx(5)


def test_recent_forgets_what_was_long_ago() -> None:
    clock = Clock()
    speed = Throughput(clock)
    for seconds in (1.0,) * 30 + (0.1,) * 150:
        clock.now += seconds
        speed.step(1)
    recent = speed.recent
    assert recent is not None
    assert recent.samples_per_second == pytest.approx(10, rel=0.1)
    assert recent.wait_share is None


def test_batch_size_of_any_batch() -> None:
    assert batch_size({"image": torch.zeros(7, 3), "label": torch.zeros(7)}) == 7
    assert batch_size((torch.zeros(3), 1)) == 3
    assert batch_size("text") == 0


def test_a_pipe_gets_few_lines_however_long_the_run() -> None:
    text = io.StringIO()
    plain = display(Console(file=text, soft_wrap=True), 0.0)
    assert isinstance(plain, PlainDisplay)
    for second in range(0, 10 * 86400, 20):
        if plain.due(second, second, 10 * 86400 * 100):
            plain.show(Status("training", second, 10 * 86400 * 100, ("loss 1.0000",)), second)
    lines = text.getvalue().splitlines()
    assert 100 < len(lines) < 600
    assert "\x1b" not in text.getvalue()
    assert lines[0].startswith("training 20/86,400,000  loss 1.0000")


def test_a_terminal_gets_a_bar_within_its_width() -> None:
    text = io.StringIO()
    live = display(Console(file=text, force_terminal=True, width=60), 0.0)
    assert isinstance(live, LiveDisplay)
    assert live.due(1.0, 1, 10)
    live.show(Status("training", 500, 1000, ("loss 0.4213", "x" * 100)), 1.0)
    assert not live.due(1.1, 2, 10)
    live.close()
    assert "500/1,000" in text.getvalue()
    assert "━" in text.getvalue()
    assert text.getvalue().rstrip("\r\n").endswith("\x1b[2K") or "\x1b[?25h" in text.getvalue()


def test_words() -> None:
    assert [words.duration(seconds) for seconds in (7, 754, 3723, 183840)] == ["0:07", "12:34", "1:02:03", "2 d 03:04"]
    assert [words.value(number) for number in (0.42131, 12.345, 3e-4, 1e-5, float("nan"))] == [
        "0.4213", "12.35", "0.0003", "1e-05", "nan",
    ]  # fmt: skip
    assert [words.rate(rate) for rate in (1523.4, 85.2, 0.731)] == ["1,523", "85", "0.73"]
    assert [words.size(count) for count in (812, 5717416)] == ["812", "5.7 M"]
