"""Accept images of any type, single or in batches, and return results of the same type."""

from collections.abc import Callable, Iterator
from functools import wraps
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from bringback.errors import PhotoError
from bringback.images.parts import resized
from bringback.images.photo import Photo, luminance


def to_photo(image: Any) -> Photo:
    """Convert a path, `Photo`, Pillow image, array or float tensor (3, H, W) in [0, 1]; raises `PhotoError`."""
    if isinstance(image, Photo):
        return image
    if isinstance(image, str | Path):
        return Photo.read(image)
    if isinstance(image, Image.Image):
        return Photo.from_image(image)
    if isinstance(image, np.ndarray):
        return Photo.from_array(image)
    if isinstance(image, Tensor) and image.is_floating_point() and image.ndim == 3 and image.shape[0] == 3:
        return Photo.from_array(image.detach().float().cpu().numpy().transpose(1, 2, 0))
    raise PhotoError(
        "a photo is a path, a Pillow image, an array (H, W) or (H, W, 3), or a float tensor (3, H, W); "
        "several are a list of them, an array (B, H, W, 3) or a tensor (B, 3, H, W)"
    )


def convert_back(image: Any, result: Photo) -> Any:
    """Convert a result to the type, dtype and shape of `image`; a gray array that became color has three channels."""
    if isinstance(image, Image.Image):
        return result.to_image()
    if isinstance(image, np.ndarray):
        if image.dtype.kind != "f":
            planes = result.array()
        else:
            planes = luminance(result.pixels)[..., None] if result.gray else result.pixels
            planes = planes if result.alpha is None else np.dstack([planes, result.alpha])
        same = planes.size == image.size
        planes = planes.reshape(image.shape) if same else planes
        return (planes[..., None] if planes.ndim < image.ndim else planes).astype(image.dtype)
    if isinstance(image, Tensor):
        return torch.from_numpy(result.pixels.transpose(2, 0, 1).copy()).to(image)
    return result


def mask_array(mask: Path | str | Image.Image | np.ndarray | Tensor) -> np.ndarray:
    """A damage mask (H, W) float32 in [0, 1] from a file, Pillow image, array or tensor; colors become luminance."""
    if isinstance(mask, str | Path):
        return Photo.read(mask).as_mask()
    if isinstance(mask, Image.Image):
        return Photo.from_image(mask).as_mask()
    plain = mask.detach().cpu() if isinstance(mask, Tensor) else mask
    plain = np.asarray(plain.float() if isinstance(plain, Tensor) and plain.is_floating_point() else plain)
    plane = plain.reshape([side for side in plain.shape[:-2] if side != 1] + list(plain.shape[-2:]))
    if plane.ndim != 2:
        raise PhotoError(f"an array of shape {plain.shape} is no damage mask: (H, W) is")
    return luminance(Photo.from_array(plane.astype(np.float32) if plane.dtype == bool else plane).pixels)


def each(function: Callable[[Any, Any], Any], images: Any, masks: Any = None) -> Any:
    """Call `function(image, mask)` for one image, or for each of a batch, and return a batch for a batch.

    A batch is a list, an array (B, H, W, C) or a tensor (B, 3, H, W). Its masks are a list, have B as their first
    dimension, or are one (H, W) for all. Raises `PhotoError` if the numbers of images and masks differ.
    """
    if not (isinstance(images, list | tuple) or (isinstance(images, np.ndarray | Tensor) and images.ndim == 4)):
        return function(images, masks)
    if isinstance(masks, np.ndarray | Tensor) and masks.ndim > 2 and len(masks) == 1:
        masks = masks.reshape(masks.shape[-2:])
    shared = masks is None or (not isinstance(masks, list | tuple) and getattr(masks, "ndim", 2) == 2)
    if not shared and len(masks) != len(images):
        raise PhotoError(f"{len(masks)} damage masks for {len(images)} photos: give each its own, or (H, W) for all")
    results = [function(image, masks if shared else masks[number]) for number, image in enumerate(images)]
    if isinstance(images, Tensor):
        return torch.stack(results) if results else images
    if isinstance(images, np.ndarray):
        return np.stack(results) if results else images
    return results


def areas_of_each(areas: Any, images: Any) -> list[Any]:
    """The picture areas given for one image, or for each of a list: "all" and None are for all, others lists of each.

    Raises `PhotoError` if the numbers of images and lists differ.
    """
    if not isinstance(images, list | tuple):
        return [areas]
    if areas is None or isinstance(areas, str):
        return [areas] * len(images)
    if len(areas) != len(images):
        raise PhotoError(f"areas of {len(areas)} photos for {len(images)}: give each its list, or None")
    return list(areas)


def accepts_any_image(verb: Callable[..., Tensor], *, colors: bool = False) -> Callable[..., Any]:
    """Decorate a stage method on tensors (B, 3, H, W), optionally with masks (B, 1, H, W), to accept any image type.

    The result has the type of the input: a tensor (3, H, W) or (B, 3, H, W) of any float dtype, differentiable; a
    Pillow image; an array (H, W), (H, W, C) or (B, H, W, C); or a list of those, of possibly different sizes. Masks
    that the method returns are converted likewise: tensors (B, 1, H, W), Pillow images of mode "L", or arrays (H, W) of
    the input's dtype. `colors` means that gray input becomes color. Raises `PhotoError` for unsupported input.
    """

    @wraps(verb)
    def run(self: Any, pixels: Any, *rest: Any, **more: Any) -> Any:
        named = next((name for name, value in more.items() if _is_mask(value)), None)
        masks = more.pop(named) if named else rest[0] if rest and _is_mask(rest[0]) else None
        others = rest if masks is None or named else rest[1:]

        def one(image: Any, mask: Any) -> Any:
            if isinstance(image, Tensor):
                return _of_tensors(verb, self, image, mask, others, more)
            photo = to_photo(image)
            own = torch.from_numpy(np.ascontiguousarray(photo.pixels)).permute(2, 0, 1)
            with torch.no_grad():
                made = _of_tensors(verb, self, own, mask, others, more).clamp(0, 1).numpy().transpose(1, 2, 0)
            if made.shape[2] == 1:
                return _mask_like(image, made[..., 0])
            return convert_back(image, resized(photo.in_color() if colors else photo, made))

        return one(pixels, masks) if isinstance(pixels, Tensor) else each(one, pixels, masks)

    return run


def _of_tensors(
    verb: Callable[..., Tensor], stage: Any, pixels: Tensor, mask: Any, others: tuple[Any, ...], more: dict[str, Any]
) -> Tensor:
    if not pixels.is_floating_point() or pixels.ndim not in (3, 4) or pixels.shape[-3] != 3:
        raise PhotoError(
            f"a tensor {tuple(pixels.shape)} of {pixels.dtype} is no photo: floats in [0, 1] of (3, H, W) or "
            "(B, 3, H, W) are"
        )
    batch = (pixels[None] if pixels.ndim == 3 else pixels).float()
    told = () if mask is None else (_as_mask(mask, batch),)
    # build a graph, which keeps large maps in memory, only if something requires a gradient
    sources = [batch, *told, *_learned(stage)]
    with torch.set_grad_enabled(torch.is_grad_enabled() and any(source.requires_grad for source in sources)):
        made = verb(stage, batch, *told, *others, **more).to(pixels.dtype)
    return made[0] if pixels.ndim == 3 else made


def _learned(stage: Any) -> Iterator[Tensor]:
    return (p for part in vars(stage).values() if isinstance(part, nn.Module) for p in part.parameters())


def _as_mask(mask: Any, pixels: Tensor) -> Tensor:
    """Convert a mask of any type, or a list of masks, to (B, 1, H, W) for `pixels` (B, 3, H, W)."""
    if isinstance(mask, list | tuple):
        return torch.cat([_as_mask(one, pixels[:1]) for one in mask]) if mask else pixels[:, :1]
    if isinstance(mask, np.ndarray):
        mask = torch.from_numpy(mask.astype(np.int64) if mask.dtype == np.uint16 else mask) / _top(mask.dtype)
    elif not isinstance(mask, Tensor):
        mask = torch.from_numpy(mask_array(mask))
    elif not mask.is_floating_point():
        mask = mask / _top(mask.dtype)
    height, width = pixels.shape[-2:]
    if mask.shape[-2:] != (height, width) or mask.numel() not in (height * width, len(pixels) * height * width):
        raise PhotoError(
            f"the damage mask has the shape {tuple(mask.shape)}, the photo {width}x{height} pixels: "
            "give (H, W) or (B, 1, H, W) of its size"
        )
    return mask.to(pixels).reshape(-1, 1, height, width).expand(len(pixels), -1, -1, -1)


def _top(dtype: np.dtype | torch.dtype) -> float:
    """The value that means 1 in masks of this dtype. Raises `PhotoError` for unsupported dtypes."""
    tops = {"bool": 1, "uint8": 255, "uint16": 65535, "float16": 1, "float32": 1, "float64": 1}
    name = str(dtype).removeprefix("torch.")
    if name not in tops:
        raise PhotoError(f"a damage mask of {name}: bool, uint8, uint16 or floats in [0, 1] are")
    return tops[name]


def _mask_like(image: Any, mask: np.ndarray) -> Any:
    """Convert a mask (H, W) in [0, 1] to the type of `image`."""
    if isinstance(image, np.ndarray) and image.dtype.kind == "f":
        return mask.astype(image.dtype)
    if isinstance(image, np.ndarray):
        return np.rint(mask * np.float32(np.iinfo(image.dtype).max)).astype(image.dtype)
    if isinstance(image, Tensor):
        return torch.from_numpy(mask.copy())[None].to(image)
    return Image.fromarray(np.rint(mask * 255).astype(np.uint8))


def _is_mask(value: Any) -> bool:
    """Whether an argument is a mask or a list of masks, not a number or a hint."""
    if isinstance(value, list | tuple):
        return bool(value) and all(one is None or _is_mask(one) for one in value)
    return isinstance(value, np.ndarray | Tensor | Image.Image | Path | str)
