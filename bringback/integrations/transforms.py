"""Degradations as a torchvision.transforms.v2 transform, and a dataset of aged pairs.

torchvision is not required; if installed, `Age` works in `v2.Compose`.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import Dataset

from bringback.degradations import RECIPES, OverlayBank, degrade
from bringback.errors import PhotoError, known_names
from bringback.images.adapters import convert_back, to_photo
from bringback.images.photo import Photo
from bringback.images.shards import find_entries
from bringback.stages.record import own_pixels


def _checked(recipe: str, overlays: Sequence[Path | str]) -> OverlayBank | None:
    if recipe not in RECIPES:
        raise ValueError(f"unknown recipe {recipe!r}; the recipes are {known_names(recipe, RECIPES)}")
    return OverlayBank.from_shards([Path(path) for path in overlays]) if overlays else None


class Age(nn.Module):
    """Randomly ages pictures with a recipe of `bringback.degradations`.

    Takes a tensor (C, H, W) or (B, C, H, W), C = 1 or 3, of floats in [0, 1] or uint8, a `tv_tensors.Image` or a Pillow
    image, and returns the same type; each picture of a batch is aged differently. In a tuple, list or dict the first
    picture is aged and everything else is passed through. Random numbers come from torch's global generator, as in
    torchvision: `torch.manual_seed` makes them reproducible, and `DataLoader` workers draw different ones.
    """

    def __init__(
        self, recipe: str = "training", *, overlays: Sequence[Path | str] = (), return_mask: bool = False
    ) -> None:
        """Args: recipe: a name in `degradations.RECIPES`; overlays: tar shards of real damage; return_mask: return
        (aged, mask), where the mask is the damage coverage of each pixel: floats (1, H, W) or (B, 1, H, W), a
        `tv_tensors.Mask` for a `tv_tensors.Image`.

        Raises ValueError for an unknown recipe or bad overlays, FileNotFoundError for missing ones.
        """
        super().__init__()
        self.recipe, self.return_mask, self.overlays = recipe, return_mask, _checked(recipe, overlays)

    def forward(self, *inputs: Any) -> Any:
        """Raises `PhotoError` for a sample without a picture."""
        sample = inputs if len(inputs) > 1 else inputs[0]
        if not isinstance(sample, dict | tuple | list):
            return self._aged(sample)
        pairs = list(sample.items()) if isinstance(sample, dict) else list(enumerate(sample))
        pictures = [key for key, value in pairs if _is_picture(value)]
        # as in torchvision: a plain tensor counts as a picture only if there is no other one
        sure = [key for key, value in pairs if key in pictures and type(value) is not Tensor]
        place = next(iter(sure or pictures), None)
        if place is None:
            raise PhotoError("there is no picture in the sample: a tensor (C, H, W) or a Pillow image is one")
        made = {key: self._aged(value) if key == place else value for key, value in pairs}
        if isinstance(sample, dict):
            return made
        return type(sample)(*made.values()) if hasattr(sample, "_fields") else type(sample)(made.values())

    def _aged(self, picture: Any) -> Any:
        if isinstance(picture, Image.Image):
            photo = to_photo(picture)
            aged, mask = self._draw(own_pixels(photo))
            made: Any = convert_back(picture, photo.with_pixels(aged[0].numpy().transpose(1, 2, 0)))
            mask = mask[0]
        else:
            if not _is_picture(picture):
                raise PhotoError(f"{type(picture).__name__} is no picture: a tensor (C, H, W) or a Pillow image is one")
            plain = picture.as_subclass(Tensor)
            scale = 1.0 if plain.is_floating_point() else 255.0
            pixels = (plain.float() / scale).reshape(-1, *plain.shape[-3:])
            aged, mask = self._draw(pixels.expand(-1, 3, -1, -1))
            aged = aged[:, :1] if pixels.shape[1] == 1 else aged
            aged = (aged * scale if scale == 1 else (aged * scale).round()).to(plain.dtype).reshape(plain.shape)
            made = aged if type(picture) is Tensor else type(picture)(aged)
            mask = mask.reshape(*plain.shape[:-3], 1, *plain.shape[-2:])
            if type(picture).__module__.startswith("torchvision."):
                from torchvision.tv_tensors import Mask  # later geometric transforms then apply to both

                mask = Mask(mask)
        return (made, mask) if self.return_mask else made

    def _draw(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        seeds = torch.randint(2**62, (len(pixels),)).tolist()
        sample = degrade(pixels.contiguous(), self.recipe, seeds, self.overlays)
        return sample.aged.clamp(0, 1), sample.mask.clamp(0, 1)

    def extra_repr(self) -> str:
        """Arguments shown in repr."""
        return f"recipe={self.recipe!r}"


class AgedPairs(Dataset[dict[str, Tensor]]):
    """Clean and aged pictures: {"aged", "clean", "mask"}, (3, H, W), (3, H, W) and (1, H, W), floats in [0, 1].

    Item k does not depend on the worker; `set_epoch` changes all items, as in `DistributedSampler`. If a recipe makes
    the picture gray, "clean" is gray too.
    """

    def __init__(
        self,
        pictures: Path | str,
        recipe: str = "training",
        *,
        resolution: int | None = 256,
        overlays: Sequence[Path | str] = (),
        seed: int = 0,
    ) -> None:
        """Args: pictures: a folder, a tar shard, or a folder of shards; resolution: side of random crops in pixels
        (smaller pictures are enlarged first), None for whole pictures.

        Raises what `Age` does, FileNotFoundError or ValueError for a missing or unreadable place, and `PhotoError` if
        there are no pictures.
        """
        self.recipe, self.overlays = recipe, _checked(recipe, overlays)
        self.entries = list(find_entries(Path(pictures)))
        if not self.entries:
            raise PhotoError(f"{pictures}: no pictures in it")
        self.resolution, self.seed, self.epoch = resolution, seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Age everything differently from now on; call it before workers start."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """Raises `PhotoError`, naming the file, for an unreadable picture."""
        index = range(len(self))[index]  # supports negative indices
        random = np.random.default_rng([self.seed % 2**63, self.epoch, index])
        entry = self.entries[index]
        photo = Photo.decode(entry.read(), str(entry))
        pixels = own_pixels(photo if self.resolution is None else _crop(photo, self.resolution, random))
        sample = degrade(pixels, self.recipe, [int(random.integers(2**62))], self.overlays)
        return {"aged": sample.aged[0].clamp(0, 1), "clean": sample.truth[0], "mask": sample.mask[0].clamp(0, 1)}


def _crop(photo: Photo, side: int, random: np.random.Generator) -> Photo:
    height, width = photo.pixels.shape[:2]
    if min(height, width) < side:
        scale = side / min(height, width)
        size = max(side, round(height * scale)), max(side, round(width * scale))
        larger = nn.functional.interpolate(own_pixels(photo), size, mode="bicubic", align_corners=False).clamp(0, 1)
        photo = photo.with_pixels(larger[0].numpy().transpose(1, 2, 0))
        height, width = size
    top, left = (int(random.integers(0, length - side + 1)) for length in (height, width))
    return photo.with_pixels(photo.pixels[top : top + side, left : left + side])


def _is_picture(value: Any) -> bool:
    if isinstance(value, Tensor):
        fits = value.ndim in (3, 4) and value.shape[-3] in (1, 3) and type(value).__name__ in ("Tensor", "Image")
        return fits and (value.is_floating_point() or value.dtype == torch.uint8)
    return isinstance(value, Image.Image)
