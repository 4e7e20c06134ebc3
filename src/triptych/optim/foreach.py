"""torch's operations on lists of tensors, one kernel for many: its own optimizers use them, but no public name does."""

import torch

add_ = torch._foreach_add_  # pyright: ignore[reportPrivateImportUsage]
lerp = torch._foreach_lerp  # pyright: ignore[reportPrivateImportUsage]
lerp_ = torch._foreach_lerp_  # pyright: ignore[reportPrivateImportUsage]
mul_ = torch._foreach_mul_  # pyright: ignore[reportPrivateImportUsage]
