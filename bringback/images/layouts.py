"""TIFFs that Pillow and OpenCV read wrongly or not at all, by tifffile (an optional dependency).

Gray and alpha of 16 bits, channels stored separately or of unspecified use, CIELab of 16 bits, and what is compressed
by Zstandard, LZMA or LERC, for which tifffile in turn needs imagecodecs.
"""

import logging
from functools import cache
from io import BytesIO
from typing import Any

import cv2
import numpy as np

from bringback.errors import CodecError
from bringback.images import tiff
from bringback.images.container import Container, check_size, missing, of_16_bits, upright

MIN_IS_WHITE, MIN_IS_BLACK, RGB, CMYK, CIELAB, ICCLAB = 0, 1, 2, 5, 8, 9  # PhotometricInterpretation
COLORS = {MIN_IS_WHITE: 1, MIN_IS_BLACK: 1, RGB: 3, CMYK: 4, CIELAB: 3, ICCLAB: 3}  # channels of each
MOST = 16  # channels; more are no photo's
BY_OPENCV = (1, 5, 8, 32946, 32773)  # compressions: none, LZW, deflated, the same, PackBits
NOT_BY_EVERY_PILLOW = (34925, 50000, 50001)  # LZMA, Zstandard, WebP: it may be built without them
BY_PILLOW = (*BY_OPENCV, 2, 3, 4, 6, 7, 32771, *NOT_BY_EVERY_PILLOW)  # and fax, JPEG


def is_unusual(data: bytes) -> bool:
    """Whether a TIFF is read by neither OpenCV, gray, RGB and RGBA of 16 bits, nor Pillow, CMYK and fewer bits."""
    bits, samples, planes, compression, photometric = (
        (tiff.numbers(data, tag) or (1,))[0]
        for tag in (tiff.BITS, tiff.SAMPLES, tiff.PLANES, tiff.COMPRESSION, tiff.PHOTOMETRIC)
    )
    if bits != 16 or (photometric == CMYK and samples == 4 and planes == 1):
        return compression not in BY_PILLOW
    plain = {MIN_IS_WHITE: (1,), MIN_IS_BLACK: (1,), RGB: (3, 4)}.get(photometric, ())
    return samples not in plain or (planes == 2 and samples > 1) or compression not in BY_OPENCV


def may_lack(data: bytes) -> bool:
    """Whether a TIFF is compressed in a way that Pillow may have been built without."""
    return (tiff.numbers(data, tiff.COMPRESSION) or (1,))[0] in NOT_BY_EVERY_PILLOW


def decode(data: bytes, max_pixels: int) -> tuple[np.ndarray, Container]:
    """Upright pixels of the first page, and the container; raises `CodecError`.

    Channels of unspecified use are in `extra["unspecified"]`.
    """
    with _library().TiffFile(BytesIO(data)) as file:
        page: Any = file.pages[0]
        check_size(page.imagewidth, page.imagelength, max_pixels)
        photometric, bits, dtype = int(page.photometric), page.bitspersample, page.dtype
        if photometric not in COLORS or page.imagedepth > 1:
            kind = getattr(page.photometric, "name", "unknown")
            raise CodecError(f"a TIFF of {kind} pixels, which are not read: save it as RGB")
        if not COLORS[photometric] <= page.samplesperpixel <= MOST:
            raise CodecError(f"a TIFF of {page.samplesperpixel} channels, of which no photo can be made")
        if dtype not in (np.uint8, np.uint16):
            numbers = "floating point numbers" if page.sampleformat == 3 else "numbers"
            raise CodecError(f"a TIFF of {numbers} of {bits} bits: save it with 8 or 16 bits a channel")
        try:
            array = page.asarray(maxworkers=1)
        except (ImportError, ValueError, KeyError) as error:
            if isinstance(error, ImportError) or "imagecodecs" in str(error):
                raise missing("such TIFF", f"it is compressed by {page.compression.name.lower()}: ") from None
            raise
        extras, icc = [int(extra) for extra in page.extrasamples], page.iccprofile
        unit = {2: "INCH", 3: "INCH"}.get(int(page.resolutionunit or 1))
        dpi = page.get_resolution(unit) if unit and all(page.resolution) else None
        compress, shape = int(page.compression) != 1, (page.imagelength, page.imagewidth, page.samplesperpixel)
    if page.samplesperpixel > 1 and page.planarconfig == 2:
        array = np.moveaxis(array, 0, -1)
    array = array.reshape(*array.shape[:2], -1)
    if array.shape != shape:
        raise CodecError("broken: it gives its size in two ways")
    orientation = tiff.orientation(data)
    array = upright(array, orientation)
    if bits < 8:
        array = (array.astype(np.uint16) * 255 // (2**bits - 1)).astype(np.uint8)
    if 8 < bits < 16:
        array = of_16_bits(array, 2**bits - 1)
    count = COLORS[photometric]
    colors, others = _to_rgb(array[..., :count], photometric), array[..., count:]
    extras = (extras + [0] * others.shape[2])[: others.shape[2]]
    alphas = [index for index, extra in enumerate(extras) if extra in (tiff.PREMULTIPLIED, tiff.ALPHA)][:1]
    if alphas:
        colors = np.dstack([colors, others[..., alphas]])
        colors = unmultiplied(colors) if extras[alphas[0]] == tiff.PREMULTIPLIED else colors
    left = [index for index in range(len(extras)) if index not in alphas]
    extra: dict[str, Any] = {"compress": compress, "xmp": tiff.xmp(data)}
    if left:
        extra["unspecified"] = np.ascontiguousarray(others[..., left])
    icc = None if photometric in (CMYK, CIELAB, ICCLAB) else icc
    known = Container("TIFF", tiff.describing(data), icc, dpi, extra, orientation)
    return np.squeeze(colors, 2) if colors.shape[2] == 1 else colors, known.turned()


def plane(data: bytes, number: int, size: tuple[int, int], orientation: int) -> np.ndarray | None:
    """The gray page of this number, turned like the photo of `size` (H, W); None if it is no such page.

    Raises `CodecError` without tifffile.
    """
    with _library().TiffFile(BytesIO(data)) as file:
        page: Any = file.pages[number]
        turned = (page.imagewidth, page.imagelength) if orientation >= 5 else (page.imagelength, page.imagewidth)
        if turned != size or page.dtype not in (np.uint8, np.uint16) or page.samplesperpixel != 1:
            return None
        return upright(page.asarray(maxworkers=1).reshape(page.imagelength, page.imagewidth), orientation)


@cache
def _library() -> Any:
    try:
        import tifffile
    except ImportError:
        raise missing("such TIFF") from None
    logging.getLogger("tifffile").addHandler(logging.NullHandler())  # or it prints a line for each broken tag
    return tifffile


def _to_rgb(array: np.ndarray, photometric: int) -> np.ndarray:
    if photometric == MIN_IS_WHITE:
        return np.bitwise_not(array)
    if photometric == CMYK:
        top = np.iinfo(array.dtype).max
        rest = top - array.astype(np.uint32)
        return ((rest[..., :3] * rest[..., 3:] + top // 2) // top).astype(array.dtype)
    if photometric in (CIELAB, ICCLAB):
        return from_lab(array, signed=photometric == CIELAB)
    return array


def from_lab(array: np.ndarray, signed: bool) -> np.ndarray:
    """CIELab (H, W, 3) as TIFFs hold it, uint8 or uint16, to sRGB of the same type.

    a* and b* are numbers with a sign, as the TIFF specification has it, or have an offset, as the ICC has it. White
    stays white: L*, a* and b* are taken relative to the white of the screen, whichever that of the scanner was.
    """
    top = np.iinfo(array.dtype).max
    units = (top + 1) // 256  # levels in one unit of a* and b*
    white = top if signed or top == 255 else 0xFF00  # L* of 100
    out = np.empty_like(array)
    for row, line in enumerate(array):  # line by line, to have no float copy of the whole
        lab = line[None].astype(np.float32)
        lab[..., 0] *= 100 / white
        lab[..., 1:] = line[None, :, 1:].view(f"i{array.itemsize}") if signed else lab[..., 1:] - 128 * units
        lab[..., 1:] /= units
        out[row] = np.rint(np.clip(cv2.cvtColor(lab, cv2.COLOR_LAB2RGB)[0], 0, 1) * top)
    return out


def unmultiplied(array: np.ndarray) -> np.ndarray:
    """Divide uint8 or uint16 colors that were multiplied by alpha, the last channel."""
    top = np.iinfo(array.dtype).max
    alpha = array[..., -1:].astype(np.uint32)
    colors = (array[..., :-1] * np.uint32(top) + alpha // 2) // np.maximum(alpha, 1)
    return np.dstack([np.minimum(colors, top).astype(array.dtype), array[..., -1:]])
