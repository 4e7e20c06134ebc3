"""Numbers as people read them."""

import math


def duration(seconds: float) -> str:
    """`0:07`, `12:34`, `1:02:03`, `2 d 03:04`."""
    whole = max(0, round(seconds))
    days, rest = divmod(whole, 86400)
    hours, rest = divmod(rest, 3600)
    minutes, rest = divmod(rest, 60)
    if days:
        return f"{days} d {hours:02d}:{minutes:02d}"
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def value(number: float) -> str:
    """`0.4213`, `12.35`, `0.0003`, `1e-05`, `nan`: decimals that stay in place while a loss falls."""
    size = abs(number)
    if math.isfinite(number) and 0.01 <= size < 1e5:
        return f"{number:.4f}" if size < 10 else f"{number:.2f}"
    return f"{number:.3g}"


def rate(per_second: float) -> str:
    """`1,523`, `85`, `0.73`."""
    return f"{per_second:,.0f}" if per_second >= 10 else f"{per_second:.2f}"


def size(count: float) -> str:
    """A count or a number of bytes, short: `5.7 M`, `812`, `1.2 G`."""
    for limit, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(count) >= limit:
            return f"{count / limit:.1f} {letter}"
    return f"{count:.0f}"
