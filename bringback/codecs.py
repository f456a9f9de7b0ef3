"""Picture files to arrays and back: the one place that knows what each file format can hold.

An array is uint8 or uint16 of shape (H, W) grey, (H, W, 2) grey and alpha, (H, W, 3) RGB or (H, W, 4) RGBA. Pillow
reads and writes 8 bits a channel; it cannot hold 16-bit colour, which OpenCV reads and `png` and `tiff` write.
"""

import re
import struct
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from io import BytesIO
from typing import Any

import cv2
import numpy as np
from PIL import Image, JpegImagePlugin, PngImagePlugin, UnidentifiedImageError

from bringback import png, tiff
from bringback.modes import FORMATS, from_cmyk

MIN_QUALITY = 95


class CodecError(ValueError):
    """A file that is not a picture we can read; one line without the file's name."""


@dataclass(frozen=True)
class Container:
    """What a picture file holds besides its pixels; the fields are those of `Photo`."""

    format: str = "PNG"
    exif: bytes | None = None
    icc: bytes | None = None
    dpi: tuple[float, float] | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)


def decode(data: bytes) -> tuple[np.ndarray, Container]:
    """The upright pixels of a file and the rest of it; raises `CodecError`."""
    if not data:
        raise CodecError("the file is empty")
    Image.init()  # all plugins; without it Pillow knows only the commonest formats by name
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image = Image.open(BytesIO(data), formats=FORMATS)
            orientation = image.tag_v2.get(tiff.ORIENTATION, 1) if image.format == "TIFF" else None  # type: ignore[attr-defined]
            image.load()
            array, container = from_image(image)
            deep = _is_deep(data, image)
            if deep:
                array = _decode_deep(data, image)
            if orientation is None:
                orientation = _exif_orientation(image)
            container = replace(container, exif=_exif(data, image), extra=_extra(data, image))
    except CodecError:
        raise
    except UnidentifiedImageError:
        raise CodecError("not a picture (JPEG, PNG, TIFF, WebP, BMP, GIF and JPEG 2000 are read)") from None
    except Image.DecompressionBombError as error:
        raise CodecError(f"too large: {error}") from None
    except Exception as error:  # whatever a decoder trips over is a broken file
        raise CodecError(f"broken or cut short: {str(error).splitlines()[0] if str(error) else error!r}") from None
    if orientation in (5, 6, 7, 8) and container.dpi:
        container = replace(container, dpi=container.dpi[::-1])
    turned = container.format == "TIFF" and not deep  # by Pillow
    return array if turned else _upright(array, orientation), container


def from_image(image: Image.Image) -> tuple[np.ndarray, Container]:
    """A Pillow image as it lies in memory, as an array and a container; raises `CodecError`."""
    info, format, icc = image.info, image.format, image.info.get("icc_profile")
    if image.mode == "CMYK":
        image, icc = from_cmyk(image, icc), None
    elif image.mode == "1" or (image.mode == "L" and "transparency" in image.info):
        image = image.convert("LA" if "transparency" in image.info else "L")
    elif image.mode in ("P", "PA", "RGBa", "La") or "transparency" in image.info:
        image = image.convert("RGBA" if image.has_transparency_data else "RGB")
    elif image.mode == "YCbCr":
        image = image.convert("RGB")
    if image.mode not in ("L", "LA", "RGB", "RGBA") and not image.mode.startswith("I;16"):
        raise CodecError(f"pixels of the kind {image.mode!r} are not supported; save it with 8 or 16 bits a channel")
    array = np.asarray(image)
    if image.mode.startswith("I;16"):
        array = array.astype(np.uint16)  # in the machine's byte order
    dpi = (float(info["dpi"][0]), float(info["dpi"][1])) if info.get("dpi") else None
    if dpi and not all(0 < value < 65535 for value in dpi):  # 0/0 is "not a number", and a JPEG holds 16 bits
        dpi = None
    known = "JPEG" if format == "MPO" else format if format in FORMATS else "PNG"
    return array, Container(known, info.get("exif"), icc, dpi)


def encode(array: np.ndarray, container: Container) -> bytes:
    """The bytes of a file of the container's format."""
    if container.format == "TIFF":
        return tiff.encode(array, container.exif, container.icc, container.dpi, **container.extra)
    if array.dtype == np.uint16:
        return _encode_deep(array, container)
    image = Image.fromarray(array)
    if container.format == "GIF" and image.mode == "RGB" and np.ptp(array, axis=2).max() == 0:
        image = image.convert("L")  # 256 greys are a palette without loss
    elif container.format in ("BMP", "GIF") and image.mode == "LA":
        image = image.convert("RGBA")
    return _save(image, container)


def _save(image: Image.Image, container: Container) -> bytes:
    known = {"exif": container.exif, "icc_profile": container.icc, "dpi": container.dpi, **container.extra}
    file = BytesIO()
    image.save(file, container.format, **{name: value for name, value in known.items() if value is not None})
    return file.getvalue()


def _exif_orientation(image: Image.Image) -> int:
    try:
        return image.getexif().get(tiff.ORIENTATION, 1)
    except Exception:  # an EXIF block that makes no sense says nothing, and takes nothing from the picture
        return 1


def _upright(array: np.ndarray, orientation: int) -> np.ndarray:
    """Undo an EXIF orientation (1 to 8)."""
    if orientation in (5, 6, 7, 8):
        array = array.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        array = array[::-1]
    if orientation in (2, 3, 6, 7):
        array = array[:, ::-1]
    return np.ascontiguousarray(array)


def _is_deep(data: bytes, image: Image.Image) -> bool:
    """Whether the file has 16 bits a channel (Pillow reads colour of that kind with 8)."""
    if image.format == "PNG":
        return data[24] == 16
    if image.format == "TIFF":
        return image.mode != "CMYK" and 16 in image.tag_v2.get(tiff.BITS, ())  # type: ignore[attr-defined]
    if image.format == "JPEG2000":
        size_marker = data.find(b"\xff\x4f\xff\x51")
        return data[size_marker + 42] & 0x7F == 15  # Ssiz of the first component: bits - 1
    return False


def _decode_deep(data: bytes, image: Image.Image) -> np.ndarray:
    if image.format == "TIFF":
        data = tiff.reset_orientation(data)  # OpenCV would turn a TIFF, and no other file
    array = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if array is None or array.dtype != np.uint16:
        raise CodecError(f"a 16-bit {image.format} of a kind that is not supported; save it as a plain 16-bit TIFF")
    if image.format == "TIFF" and image.tag_v2.get(tiff.PHOTOMETRIC) == 0:  # type: ignore[attr-defined]
        return np.uint16(65535) - array  # white is zero, which OpenCV leaves so
    if array.ndim == 2:
        return array
    if image.format == "PNG" and data[25] == png.COLOUR_TYPES[2]:
        return array[..., [0, 3]]
    return cv2.cvtColor(array, cv2.COLOR_BGRA2RGBA if array.shape[2] == 4 else cv2.COLOR_BGR2RGB)


def _exif(data: bytes, image: Image.Image) -> bytes | None:
    """The EXIF block with its orientation reset; of a TIFF, what it says besides how its pixels are stored."""
    if image.format == "TIFF":
        return tiff.describing(data)
    raw = image.info.get("exif")
    if not raw and "Raw profile type exif" in image.info:  # ImageMagick's way of keeping it in a PNG
        raw = image.getexif().tobytes()
    return tiff.reset_orientation(raw) if raw else None


def _extra(data: bytes, image: Image.Image) -> dict[str, Any]:
    """What it takes to write this very file again: the keyword arguments of its writer."""
    if image.format == "TIFF":
        return {"compress": image.info.get("compression", "raw") != "raw"}
    if image.format == "PNG":
        texts = PngImagePlugin.PngInfo()
        for key, value in image.text.items():  # type: ignore[attr-defined]
            if not key.startswith("Raw profile type"):
                texts.add_itxt(key, _xmp_upright(value)) if key.startswith("XML:") else texts.add_text(key, value)
        return {"pnginfo": texts}
    if image.format == "WEBP":
        lossless = b"VP8L" in data
        return {"xmp": _xmp(image), "lossless": lossless, "quality": 75 if lossless else MIN_QUALITY, "exact": True}
    if image.format == "JPEG2000":
        return {"no_jp2": data.startswith(b"\xff\x4f\xff\x51")}
    if image.format in ("JPEG", "MPO"):
        return _jpeg_extra(image)
    return {}


def _jpeg_extra(image: Image.Image) -> dict[str, Any]:
    """The photo's own tables where they are finer than quality 95; a coarse JPEG must not spoil its restoration.

    Never progressive: Pillow's buffer is too small for a fine and grainy picture of that kind.
    """
    extra: dict[str, Any] = {"quality": MIN_QUALITY, "xmp": _xmp(image), "comment": image.info.get("comment")}
    captions = [block for name, block in image.applist if name == "APP13"]  # type: ignore[attr-defined]
    extra["extra"] = b"".join(b"\xff\xed" + struct.pack(">H", len(block) + 2) + block for block in captions)
    if image.mode in ("RGB", "L"):
        probe = BytesIO()
        Image.new(image.mode, (8, 8)).save(probe, "JPEG", quality=MIN_QUALITY)
        standard = Image.open(probe).quantization  # type: ignore[attr-defined]
        tables: dict[int, list[int]] = image.quantization  # type: ignore[attr-defined]
        if sum(map(sum, tables.values())) / len(tables) <= sum(map(sum, standard.values())) / len(standard):
            extra |= {"quality": -1, "qtables": tables}
    sampling = JpegImagePlugin.get_sampling(image)
    return extra | ({"subsampling": sampling} if image.mode == "RGB" and sampling >= 0 else {})


def _xmp(image: Image.Image) -> bytes | None:
    xmp = image.info.get("xmp")
    return _xmp_upright(xmp.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape") if xmp else None


def _xmp_upright(xmp: str) -> str:
    return re.sub(r"(tiff:Orientation(?:=\"|='|>))\d", r"\g<1>1", xmp)


def _encode_deep(array: np.ndarray, container: Container) -> bytes:
    if container.format == "JPEG2000":
        if array.ndim == 3:
            array = cv2.cvtColor(array, cv2.COLOR_RGBA2BGRA if array.shape[2] == 4 else cv2.COLOR_RGB2BGR)
        return cv2.imencode(".jp2", array, [cv2.IMWRITE_JPEG2000_COMPRESSION_X1000, 1000])[1].tobytes()
    # Pillow writes the metadata of a PNG even where it cannot write the pixels: those of a tiny one serve.
    return png.encode(array, _save(Image.new("L", (1, 1)), replace(container, format="PNG")))
