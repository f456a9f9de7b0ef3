"""How guards look at the marks of a photo: at its native scale, averaged once for all who want it of one size."""

from dataclasses import dataclass, field

import numpy as np
from torch import Tensor

from bringback.ops.color import luminance
from bringback.ops.scale import averaged, seen_at

Size = tuple[int, int]


@dataclass(frozen=True, slots=True)
class View:
    """A photo `pixels` (1, 3, H, W) in [0, 1] of a native `scale`, 1 or more. What it gives is not to be written to."""

    pixels: Tensor
    scale: float = 1.0
    _photos: dict[Size, Tensor] = field(default_factory=dict, init=False, repr=False)
    _lights: dict[Size, np.ndarray] = field(default_factory=dict, init=False, repr=False)

    def size(self, most: int) -> Size:
        """Height and width at which it is looked at, with about `most` pixels."""
        return seen_at(self.pixels, self.scale, most)

    def photo(self, size: Size) -> Tensor:
        """The photo (1, 3, h, w), float32, on the CPU."""
        if size not in self._photos:
            self._photos[size] = averaged(self.pixels, size)
        return self._photos[size]

    def light(self, size: Size) -> np.ndarray:
        """Its luminance (h, w), float32."""
        if size not in self._lights:
            self._lights[size] = luminance(self.photo(size))[0, 0].numpy()
        return self._lights[size]
