"""A planted secret appears nowhere; what merely sounds like one stays."""

import pytest

from triptych.rundir import Masking

SECRET = "s3cr3t-v4lue"
MASKING = Masking({"HF_TOKEN": SECRET, "HOME": "/home/me", "SHORT_KEY": "yes"})


@pytest.mark.parametrize(
    "text",
    [
        f"read with {SECRET}!",
        "triptych train +api_key=abcdef logger.api_key='abc def'",
        "WANDB_API_KEY=abcdef triptych train",
        "https://me:abcdef@example.org/data.tar",
        "--password=abcdef",
    ],
)
def test_secrets_are_masked_in_text(text: str) -> None:
    masked = MASKING.text(text)
    assert "***" in masked
    assert SECRET not in masked
    assert "abc" not in masked


@pytest.mark.parametrize(
    "text", ["pool=class_token pad_token=0 num_tokens=5", "data.key=image", "yes /home/me", "https://example.org/a@b"]
)
def test_ordinary_text_stays(text: str) -> None:
    assert MASKING.text(text) == text


def test_a_config_is_masked_by_key_and_by_value() -> None:
    config = {"logger": {"api_key": "x", "PASSWORD": 5, "names": [f"a {SECRET}"]}, "tower": {"class_token": True}}
    assert MASKING.tree(config) == {
        "logger": {"api_key": "***", "PASSWORD": "***", "names": ["a ***"]},
        "tower": {"class_token": True},
    }
