"""Storage behind URLs of any kind that fsspec knows (`s3://`, `gs://`, `https://`, `memory://`)."""

from typing import Any

from triptych.data.files import suggest
from triptych.errors import UserError

_PACKAGES = {"http": "aiohttp", "s3": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "az": "adlfs", "abfs": "adlfs"}


def open_url(root: str) -> tuple[Any, str]:
    """The fsspec file system of a URL, and the path in it.

    Raises:
        UserError: no such kind of URL, or its package is not installed.
    """
    import fsspec
    from fsspec.registry import known_implementations

    protocol = root.partition("://")[0]
    try:
        return fsspec.core.url_to_fs(root)
    except ImportError as error:
        package = _PACKAGES.get(protocol.removesuffix("s") if protocol == "https" else protocol)
        how = f"pip install {package}" if package else str(error)
        raise UserError(f"{root} needs a package that is not installed: {how}") from error
    except ValueError as error:
        known = sorted(known_implementations)
        if protocol not in known:
            raise UserError(f"{root}: {protocol}:// is no known kind of URL{suggest(protocol, known)}") from error
        raise UserError(f"{root} is no usable URL: {reason_of(error)}") from error


def reason_of(error: BaseException) -> str:
    """What an error of a storage says, in one line."""
    return " ".join(str(error).split())[:300] or type(error).__name__
