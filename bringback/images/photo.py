"""An image with the metadata of its file, read from any supported format and written back in the same way."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from PIL import Image

from bringback.errors import CodecError, PhotoError
from bringback.images import codecs, profiles
from bringback.runtime.files import read_whole, write_beside

# Rec. 601 luma, as in JPEG and in Pillow's "L".
LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)
ROUNDING = 1e-4  # tolerance for float input outside [0, 1]
STRIP = 1 << 18  # pixels processed at a time, to avoid a second copy of a large photo


def luminance(pixels: np.ndarray) -> np.ndarray:
    """Rec. 601 luma of (..., 3) RGB, shape (...)."""
    return pixels @ LUMA


def is_gray(pixels: np.ndarray) -> bool:
    """Whether the chroma of RGB (H, W, 3) in [0, 1] is only noise: a black-and-white photo stored as color.

    Chroma noise averages out over a block of pixels; a tint or a colored corner does not. A sepia print is not gray.
    """
    height, width = pixels.shape[:2]
    rows, columns = (
        np.linspace(0, side, min(max(side // 8, 1), 64), endpoint=False).astype(int) for side in (height, width)
    )
    left, sums = 0.04 * 2 * height * width, []  # remaining budget of summed absolute chroma
    for blocks in np.split(pixels, rows[1:]):
        lines = np.zeros((2, width))
        for part in strips(blocks):
            light = luminance(blocks[part])
            for line, color in zip(lines, (0, 2), strict=True):  # one at a time: pairs take five times as long
                chroma = blocks[part][..., color] - light  # R - Y and B - Y
                line += chroma.sum(0, dtype=np.float64)
                left -= np.abs(chroma, out=chroma).sum(dtype=np.float64)
        if left < 0:
            return False
        sums.append(np.add.reduceat(lines, columns, axis=1))
    area = np.diff(rows, append=height)[:, None] * np.diff(columns, append=width)
    return bool(np.quantile(np.abs(np.stack(sums, 1) / area), 0.995) < 0.016)


def strips(pixels: np.ndarray) -> Iterator[slice]:
    """Row slices that split (H, W, ...) into strips of at most `STRIP` pixels, but at least one row each."""
    rows = max(1, STRIP // pixels.shape[1])
    return (slice(top, top + rows) for top in range(0, pixels.shape[0], rows))


def _conversion(icc: bytes | None, gray: bool) -> tuple[profiles.Conversion | None, tuple[str, ...]]:
    """How to convert pictures with this profile, None if they are sRGB or taken for it; and a warning in that case."""
    try:
        return (profiles.conversion(icc, gray) if icc else None), ()
    except CodecError as error:
        return None, (f"read as sRGB: the color profile {error}",)


@dataclass(frozen=True, eq=False)
class Photo:
    """An image with the metadata of its file.

    `pixels` is (H, W, 3) float32 sRGB in [0, 1], upright (the EXIF orientation is applied and reset in `exif`),
    whatever the profile `icc` is in which the file is written; see `profiles`. `levels` is what the file had, uint8 or
    uint16 of (H, W) or (H, W, 3), if its profile is another than sRGB. `gray` means that the file had one color channel
    and is written with one. `alpha` is (H, W) float32 in [0, 1] or None. `bit_depth` is 8 or 16. `format` is Pillow's
    name of the file format. `dpi` is (horizontal, vertical). `extra` are arguments of the format's writer (JPEG tables,
    texts). `orientation` is the EXIF orientation that was applied. `warnings` are lines about what of the file is not
    in the photo, or not applied. `infrared` is the channel (H, W), uint8 or uint16, of a scan that has one. CMYK and
    CIELab become RGB and lose their profile.
    """

    pixels: np.ndarray
    gray: bool = False
    alpha: np.ndarray | None = None
    bit_depth: int = 8
    format: str = "PNG"
    exif: bytes | None = None
    icc: bytes | None = None
    dpi: tuple[float, float] | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)
    orientation: int = 1
    warnings: tuple[str, ...] = ()
    infrared: np.ndarray | None = field(default=None, repr=False)
    levels: np.ndarray | None = field(default=None, repr=False)

    def __repr__(self) -> str:
        height, width = self.pixels.shape[:2]
        kind = f"{'gray' if self.gray else 'color'}{'' if self.alpha is None else ' with alpha'}"
        return f"<Photo of {width}x{height} pixels: {self.format}, {kind}, {self.bit_depth} bits>"

    @classmethod
    def read(cls, path: Path | str) -> Self:
        """Read a file (the first frame of an animation). RAW is recognized by suffix, other formats by content.

        A RAW file becomes a 16-bit TIFF. Raises `PhotoError` if the file is missing, empty, broken, too large, not an
        image, or has several pages.
        """
        return cls.decode(read_whole(path), str(path))

    @classmethod
    def decode(cls, data: bytes, name: str, max_pixels: int = codecs.MAX_PIXELS) -> Self:
        """Decode the bytes of a file called `name`; raises `PhotoError` as `read` does.

        The name is used only to recognize camera RAW files, most of which look like TIFFs, and in error messages.
        """
        try:
            return cls._from(*codecs.decode(data, name, max_pixels))
        except codecs.CodecError as error:
            raise PhotoError(f"{name}: {error}") from None

    @classmethod
    def from_array(cls, pixels: np.ndarray) -> Self:
        """From (H, W) or (H, W, 1) gray, (H, W, 3) RGB or (H, W, 4) RGBA: uint8, uint16 or float in [0, 1].

        The format is PNG. Raises `PhotoError` for arrays of another shape, dtype or range.
        """
        if pixels.ndim not in (2, 3) or (pixels.ndim == 3 and pixels.shape[2] not in (1, 3, 4)) or 0 in pixels.shape:
            raise PhotoError(f"an array of shape {pixels.shape} is no photo: (H, W), (H, W, 3) or (H, W, 4) is")
        if pixels.dtype not in (np.uint8, np.uint16) and pixels.dtype.kind != "f":
            raise PhotoError(f"an array of {pixels.dtype} is no photo: uint8, uint16 or floats in [0, 1] are")
        if pixels.dtype.kind == "f" and not (pixels.min() >= -ROUNDING and pixels.max() <= 1 + ROUNDING):
            low, high = pixels.min(), pixels.max()
            raise PhotoError(f"the floats of a picture lie in [0, 1]; here they go from {low:.4g} to {high:.4g}")
        return cls._from(pixels, codecs.Container())

    @classmethod
    def from_image(cls, image: Image.Image) -> Self:
        """From a Pillow image as it is in memory (EXIF orientation is not applied); raises `PhotoError`."""
        try:
            return cls._from(*codecs.from_image(image))
        except codecs.CodecError as error:
            raise PhotoError(str(error)) from None

    @classmethod
    def _from(cls, array: np.ndarray, container: codecs.Container) -> Self:
        top = 1.0 if array.dtype.kind == "f" else np.iinfo(array.dtype).max
        channels = 1 if array.ndim == 2 else array.shape[2]
        planes = array.reshape(*array.shape[:2], channels)

        def scaled(levels: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
            return np.divide(levels, np.float32(top), out=out, dtype=np.float32, order="C")

        gray = channels < 3
        levels = planes[..., 0] if gray else planes[..., :3]
        conversion, warning = _conversion(container.icc, gray)
        if conversion:
            pixels = np.empty((*array.shape[:2], 3), np.float32)
            for rows in strips(array):
                made = conversion.to_srgb(levels[rows])
                pixels[rows] = made[..., None] if gray else made
        elif gray:
            pixels = np.empty((*array.shape[:2], 3), np.float32)
            for channel in range(3):
                scaled(levels, out=pixels[..., channel])
        else:
            pixels = scaled(levels)
        known = {**vars(container), "warnings": (*container.warnings, *warning)}
        return cls(
            pixels=pixels,
            gray=gray,
            alpha=scaled(planes[..., -1]) if channels in (2, 4) else None,
            bit_depth=16 if array.dtype == np.uint16 else 8,
            levels=levels if conversion else None,
            **known,
        )

    def with_pixels(self, pixels: np.ndarray) -> Self:
        """A copy with other pixels (H, W, 3)."""
        return replace(self, pixels=pixels)

    def in_color(self) -> Self:
        """A copy that is written with three channels, without an ICC profile that is for gray only."""
        for_gray = self.icc is not None and self.icc[16:20] == b"GRAY"
        levels = None if self.gray else self.levels
        return replace(self, gray=False, icc=None if for_gray else self.icc, levels=levels)

    @property
    def grey(self) -> bool:
        """The former name of `gray`, for one release."""
        return self.gray

    def in_colour(self) -> Self:
        """The former name of `in_color`, for one release."""
        return self.in_color()

    def as_mask(self) -> np.ndarray:
        """The picture as a damage mask (H, W) in [0, 1]: the luminance of what the file had, whatever its profile."""
        if self.levels is None:
            return luminance(self.pixels)
        shares = self.levels / np.float32(np.iinfo(self.levels.dtype).max)
        return shares if self.gray else luminance(shares)

    def array(self) -> np.ndarray:
        """Pixels as stored in the file: uint8 or uint16, (H, W), (H, W, 2), (H, W, 3) or (H, W, 4)."""
        channels = (1 if self.gray else 3) + (self.alpha is not None)
        top, kind = (65535, np.uint16) if self.bit_depth == 16 else (255, np.uint8)
        whole = np.empty((*self.pixels.shape[:2], channels), kind)
        conversion, _ = _conversion(self.icc, self.gray)
        own = self.levels if self.levels is not None and self.levels.shape[:2] == whole.shape[:2] else None
        for rows in strips(whole):
            planes = luminance(self.pixels[rows]) if self.gray else self.pixels[rows]
            if conversion:
                planes = profiles.restored(conversion, planes, None if own is None else own[rows])
            planes = planes[..., None] if self.gray else planes
            if self.alpha is not None:
                planes = np.concatenate([planes, self.alpha[rows, :, None]], axis=2)
            levels = np.clip(planes, 0, 1)
            levels *= np.float32(top)
            whole[rows] = np.rint(levels, out=levels)
        return whole[..., 0] if channels == 1 else whole

    def encode(self, note: Mapping[str, str] | None = None, strip: bool = False) -> bytes:
        """Encode to a file in the photo's own format.

        `note` is written to the XMP packet if the format has one (JPEG, PNG, TIFF, WebP, HEIF). `strip` removes EXIF,
        XMP, texts and the note; the ICC profile and the resolution stay, as they affect how the image looks.
        """
        container = codecs.Container(self.format, self.exif, self.icc, self.dpi, self.extra)
        return codecs.encode(self.array(), container, note, strip)

    def write(self, path: Path | str) -> None:
        """Write the photo in its own format, atomically; raises `PhotoError`."""
        try:
            write_beside(Path(path), self.encode())
        except OSError as error:
            raise PhotoError(f"{path}: cannot be written: {error.strerror or error}") from None

    def to_image(self) -> Image.Image:
        """A Pillow image of 8 bits a channel (16-bit gray without alpha: 16), with profile, EXIF and dpi in `info`."""
        array = self.array()
        if array.dtype == np.uint16 and array.ndim == 3:
            deep, array = array, np.empty(array.shape, np.uint8)
            for rows in strips(deep):
                array[rows] = np.rint(deep[rows] / 257.0)
        image = Image.fromarray(array)
        known = {"icc_profile": self.icc, "exif": self.exif, "dpi": self.dpi}
        image.info.update({name: value for name, value in known.items() if value is not None})
        return image
