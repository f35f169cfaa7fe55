"""What typed settings have in common: unknown keys and impossible values are errors."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict

from sspcore.core.types import Size

STRIDE = 32  # of the coarsest level of an image model's pyramid; frame sizes must be multiples of it


class Section(BaseModel):
    """A section of settings: frozen, without unknown keys or infinite numbers."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def fits_networks(size: Size) -> Size:
    """The size, if both sides are positive multiples of STRIDE."""
    if min(size) < 1 or any(side % STRIDE for side in size):
        raise ValueError(f"{size[0]}x{size[1]}: height and width must be positive multiples of {STRIDE}")
    return size


InputSize = Annotated[Size, AfterValidator(fits_networks)]
