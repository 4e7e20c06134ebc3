"""Secrets stay out of whatever a run writes."""

import os
import re
from collections.abc import Mapping
from typing import Any

MASK = "***"

# Names as environments have them, all capitals: HF_TOKEN, WANDB_API_KEY, PASSWORD.
_ENVIRONMENT_NAME = re.compile(r"(?:[A-Z0-9_]*_)?(?:KEY|KEY_ID|TOKEN|PASSWORD|PASSWD|SECRET|CREDENTIALS)")
# Names as configs have them. Spelled out, because `class_token` and `pad_token` are no secrets.
_CONFIG_NAME = re.compile(
    r"(?:.*_)?(?:api_?key|access_?key(?:_?id)?|secret(?:_?key)?|private_?key|password|passwd|passphrase|credentials?"
    r"|(?:api|auth|access|bearer|hub|hf|refresh|session)_?token)"
)
_IN_TEXT = re.compile(
    r"(?<![\w.])(?P<path>(?:[\w+~-]+[.@])*)(?P<name>[\w-]+)(?P<equals>=)(?P<value>\"[^\"]*\"|'[^']*'|[^\s,&;'\"]+)"
)
_IN_ADDRESS = re.compile(r"(?P<scheme>[a-zA-Z][\w+.-]*://)[^\s/@]+@")
_SHORTEST = 6  # a shorter value of the environment is likely a word that turns up anywhere


def is_secret_name(name: str) -> bool:
    """Whether a setting of this name holds a secret: `HF_TOKEN`, `api_key`, `PASSWORD`; not `class_token`."""
    return bool(_ENVIRONMENT_NAME.fullmatch(name) or _CONFIG_NAME.fullmatch(name.lower().replace("-", "_")))


class Masking:
    """Replaces secrets by `***`: by the name of the setting, by the form, and by the values in the environment.

    Args:
        environment: where the values of secret names are looked up; the process environment if not given.
    """

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        environment = os.environ if environment is None else environment
        values = {value for name, value in environment.items() if is_secret_name(name) and len(value) >= _SHORTEST}
        # Longest first, so that a value which contains another is masked whole.
        self._values = sorted(values, key=len, reverse=True)

    def text(self, text: str) -> str:
        """Mask environment values, `name=value` of secret names, and `user:password@` in addresses."""
        for value in self._values:
            text = text.replace(value, MASK)
        text = _IN_ADDRESS.sub(lambda match: f"{match['scheme']}{MASK}@", text)
        return _IN_TEXT.sub(_mask_assignment, text)

    def tree(self, value: Any, name: str = "") -> Any:
        """Mask a config of plain containers; a value under a secret name is masked whatever its type."""
        if name and is_secret_name(name) and value not in (None, "", True, False):
            return MASK
        if isinstance(value, Mapping):
            return {key: self.tree(item, str(key)) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.tree(item) for item in value]
        return self.text(value) if isinstance(value, str) else value


# What a message says in place of a secret: api_key=..., api_key='${oc.env:API_KEY}'.
_NO_SECRET = re.compile(r"""\.{3}.?|['"]?\$\{oc\.env:\w+\}['"]?""")


def _mask_assignment(match: re.Match[str]) -> str:
    if not is_secret_name(match["name"].lstrip("-")) or _NO_SECRET.fullmatch(match["value"]):
        return match[0]
    return f"{match['path']}{match['name']}{match['equals']}{MASK}"
