"""Decode image files to arrays and encode arrays to files, for all formats.

Arrays are uint8 or uint16 of shape (H, W) gray, (H, W, 2) gray and alpha, (H, W, 3) RGB or (H, W, 4) RGBA. Pillow
handles 8 bits a channel. It cannot hold 16-bit color, which OpenCV reads and `png` and `tiff` write. HEIF and camera
RAW files have their own modules.
"""

import struct
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from io import BytesIO
from pathlib import PurePath
from typing import Any, TypeVar

import cv2
import numpy as np
from PIL import Image, JpegImagePlugin, PngImagePlugin, UnidentifiedImageError

from bringback.errors import CodecError
from bringback.images import heif, png, raw, tiff, xmp
from bringback.images.container import MAX_PIXELS, Container, check_size
from bringback.images.modes import FORMATS, beyond_limit, from_cmyk, open_any_size
from bringback.images.shards import RAW

__all__ = ["MAX_PIXELS", "CodecError", "Container", "decode", "encode", "from_image"]

MIN_QUALITY = 95
NOTED = ("JPEG", "PNG", "TIFF", "WEBP", "HEIF")  # formats that can hold XMP
TELLING = ("xmp", "comment", "extra", "pnginfo")  # keys of `extra` removed by --strip-metadata, in addition to EXIF
LONGEST_XMP = 65_000  # bytes, in a JPEG
EXTENDED_XMP = b"http://ns.adobe.com/xmp/extension/\0"
BIG = (b"+\0", b"\0+")  # bytes 2 and 3 of a BigTIFF
PLANES, MORE = 284, 338  # TIFF tags PlanarConfiguration (2: channels stored separately) and ExtraSamples

T = TypeVar("T")


def decode(data: bytes, name: str = "", max_pixels: int = MAX_PIXELS) -> tuple[np.ndarray, Container]:
    """Decode a file to upright pixels and its `Container`; raises `CodecError`."""
    if not data:
        raise CodecError("the file is empty")
    try:
        if PurePath(name).suffix.lower() in RAW:
            return raw.decode(data, max_pixels)
        return heif.decode(data, max_pixels) if heif.is_heif(data) else _decode(data, max_pixels)
    except CodecError:
        raise
    except UnidentifiedImageError:
        raise CodecError("not a picture (JPEG, PNG, TIFF, WebP, BMP, GIF, JPEG 2000 and HEIF are read)") from None
    except MemoryError:
        raise CodecError("there is not enough memory to decode it") from None
    except Exception as error:  # decoders raise errors of any type on broken files
        reason = next(iter(str(error).splitlines()), repr(error))
        raise CodecError(f"broken or cut short: {reason}") from None


def _decode(data: bytes, max_pixels: int) -> tuple[np.ndarray, Container]:
    Image.init()  # load all plugins; by default Pillow preloads only the most common ones
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        image = open_any_size(data)
        check_size(*image.size, max_pixels)
        orientation = None
        if image.format == "TIFF":
            _check_pages(data)
            orientation = image.tag_v2.get(tiff.ORIENTATION, 1)  # type: ignore[attr-defined]
        with beyond_limit(image.width * image.height):
            image.load()
        array, container = from_image(image)
        deep = _is_deep(data, image)
        if deep:
            array = _decode_deep(data, image, max_pixels)
        elif image.format == "TIFF" and image.tag_v2.get(tiff.BITS) == (12,):  # type: ignore[attr-defined]
            array = ((array.astype(np.uint32) * 65535 + 2047) // 4095).astype(np.uint16)  # Pillow scales all but these
        if orientation is None:
            orientation = _or(1, lambda: image.getexif().get(tiff.ORIENTATION, 1))
        plain = {"quality": MIN_QUALITY} if container.format in ("JPEG", "WEBP") else {}
        exif, extra = _or(None, lambda: _exif(data, image)), _or(plain, lambda: _extra(data, image))
        container = replace(container, exif=exif, extra=extra)
    if orientation in (5, 6, 7, 8) and container.dpi:
        container = replace(container, dpi=container.dpi[::-1])
    turned = container.format == "TIFF" and (not deep or data[2:4] in BIG)  # already upright: by Pillow, or by OpenCV
    return array if turned else _upright(array, orientation), container


def _or(otherwise: T, read: Callable[[], T]) -> T:
    """The result of `read`, or `otherwise` if it raises: invalid metadata must not prevent decoding the pixels."""
    try:
        return read()
    except Exception:
        return otherwise


def _check_pages(data: bytes) -> None:
    pages = tiff.pages(data)
    if sum(pages) > 1:
        raise CodecError(f"{sum(pages)} pages: split it first (for example with tiffsplit), one photo has one")
    if pages and not pages[0] and (any(pages) or tiff.has_subfiles(data)):
        raise CodecError("a thumbnail comes first: a RAW file is known by its suffix, save others as a plain TIFF")


def from_image(image: Image.Image) -> tuple[np.ndarray, Container]:
    """Convert a Pillow image, as it is in memory, to an array and a container; raises `CodecError`."""
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
        array = array.astype(np.uint16)  # native byte order
    dpi = _or(None, lambda: (float(info["dpi"][0]), float(info["dpi"][1])))
    if dpi and not all(0 < value < 65535 for value in dpi):  # NaN (from 0/0) fails too; JPEG stores 16 bits
        dpi = None
    known = "JPEG" if format == "MPO" else format if format in FORMATS else "PNG"
    return array, Container(known, info.get("exif"), icc, dpi)


def encode(
    array: np.ndarray, container: Container, note: Mapping[str, str] | None = None, strip: bool = False
) -> bytes:
    """Encode to a file in the container's format; see `Photo.encode`."""
    if strip:
        kept = {name: value for name, value in container.extra.items() if name not in TELLING}
        container = replace(container, exif=None, extra=kept)
    elif note and container.format in NOTED:
        packet = xmp.noted(container.extra.get("xmp"), note)
        if container.format != "JPEG" or len(packet) <= LONGEST_XMP:
            container = replace(container, extra={**container.extra, "xmp": packet})
    if container.format == "TIFF":
        return tiff.encode(array, container.exif, container.icc, container.dpi, **container.extra)
    if container.format == "HEIF":
        return _written(lambda known: heif.encode(array, **known), lambda known: heif.encode(_TINY, **known), container)
    if array.dtype == np.uint16:
        return _encode_deep(array, container)
    image = Image.fromarray(array)
    if container.format == "GIF" and image.mode == "RGB" and np.ptp(array, axis=2).max() == 0:
        image = image.convert("L")  # 256 grays fit into the palette, so this is lossless
    elif container.format in ("BMP", "GIF") and image.mode == "LA":
        image = image.convert("RGBA")
    return _save(image, container)


_TINY = np.zeros((64, 64, 3), np.uint8)


def _save(image: Image.Image, container: Container) -> bytes:
    def save(image: Image.Image, known: Mapping[str, Any]) -> bytes:
        file = BytesIO()
        image.save(file, container.format, **known)
        return file.getvalue()

    if container.format == "PNG":
        container = _with_texts(container)
    return _written(lambda known: save(image, known), lambda known: save(Image.fromarray(_TINY), known), container)


def _written(
    write: Callable[[Mapping[str, Any]], bytes], probe: Callable[[Mapping[str, Any]], bytes], container: Container
) -> bytes:
    """Call `write` with all metadata; if it fails, without the metadata blocks that `probe` fails on."""
    known = {"exif": container.exif, "icc_profile": container.icc, "dpi": container.dpi, **container.extra}
    known = {name: value for name, value in known.items() if value is not None}
    try:
        return write(known)
    except CodecError:
        raise
    except Exception:
        good = {}
        for name, value in known.items():
            if name not in (*TELLING, "exif", "icc_profile"):
                good[name] = value
                continue
            with suppress(Exception):
                probe({name: value})
                good[name] = value
        if good.keys() == known.keys():
            raise
        return write(good)


def _with_texts(container: Container) -> Container:
    """Move the XMP packet to the text chunks, as PNG stores it."""
    extra = dict(container.extra)
    packet, texts = extra.pop("xmp", None), PngImagePlugin.PngInfo()
    texts.chunks = list(extra["pnginfo"].chunks) if "pnginfo" in extra else []
    if packet:
        texts.add_itxt("XML:com.adobe.xmp", packet.decode("utf-8", "replace"))
    return replace(container, extra=extra | {"pnginfo": texts})


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
    """Whether the file has 16 bits a channel (Pillow reduces 16-bit color to 8 bits)."""
    if image.format == "PNG":
        return data[24] == 16
    if image.format == "TIFF":
        return image.mode != "CMYK" and 16 in image.tag_v2.get(tiff.BITS, ())  # type: ignore[attr-defined]
    if image.format == "JPEG2000":
        size_marker = data.find(b"\xff\x4f\xff\x51")
        return data[size_marker + 42] & 0x7F == 15  # Ssiz of the first component: bits - 1
    return False


def _decode_deep(data: bytes, image: Image.Image, max_pixels: int) -> np.ndarray:
    if image.format == "TIFF":
        data = tiff.reset_orientation(data)  # OpenCV applies a TIFF's; this does not reset a BigTIFF's
    if image.format == "JPEG2000":  # the codestream has a size of its own, which OpenCV uses
        right, bottom, left, top = struct.unpack_from(">4I", data, data.find(b"\xff\x4f\xff\x51") + 8)
        check_size(max(right - left, 0), max(bottom - top, 0), max_pixels)
    array = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    told = image.tag_v2 if image.format == "TIFF" else {}  # type: ignore[attr-defined]
    apart = told.get(PLANES) == 2 and array is not None and array.ndim == 3  # OpenCV decodes these wrongly
    if array is None or array.dtype != np.uint16 or apart:
        raise CodecError(f"a 16-bit {image.format} of a kind that is not supported; save it as a plain 16-bit TIFF")
    if array.shape[1::-1] != image.size and image.format != "TIFF":
        raise CodecError("broken: it gives its size in two ways")
    if told.get(tiff.PHOTOMETRIC) == 0:
        return np.uint16(65535) - array  # WhiteIsZero, which OpenCV does not invert
    if array.ndim == 2:
        clear = image.info.get("transparency") if image.format == "PNG" else None  # a gray level, ignored by OpenCV
        return array if clear is None else np.dstack([array, np.where(array == clear, 0, 65535).astype(np.uint16)])
    if image.format == "PNG" and data[25] == png.COLOR_TYPES[2]:
        return array[..., [0, 3]]
    array = cv2.cvtColor(array, cv2.COLOR_BGRA2RGBA if array.shape[2] == 4 else cv2.COLOR_BGR2RGB)
    if told.get(MORE) == (1,) and array.shape[2] == 4:  # premultiplied alpha: divide it out
        alpha = array[..., 3:].astype(np.uint32)
        colors = (array[..., :3] * np.uint32(65535) + alpha // 2) // np.maximum(alpha, 1)
        array[..., :3] = np.minimum(colors, 65535)
    return array


def _exif(data: bytes, image: Image.Image) -> bytes | None:
    """The EXIF block with its orientation reset; for a TIFF, the tags that do not describe how pixels are stored."""
    if image.format == "TIFF":
        return tiff.describing(data)
    raw = image.info.get("exif")
    if not raw and "Raw profile type exif" in image.info:  # as ImageMagick stores it in a PNG
        raw = image.getexif().tobytes()
    return tiff.reset_orientation(raw) if raw else None


def _extra(data: bytes, image: Image.Image) -> dict[str, Any]:
    """Keyword arguments for the writer that reproduce this file's encoding and remaining metadata."""
    if image.format == "TIFF":
        packet = tiff.xmp(data)
        compress = image.info.get("compression", "raw") != "raw"
        return {"compress": compress, "xmp": xmp.upright(packet) if packet else None}
    if image.format == "PNG":
        texts = PngImagePlugin.PngInfo()
        for key, value in image.text.items():  # type: ignore[attr-defined]
            if key not in ("Raw profile type exif", "XML:com.adobe.xmp"):
                texts.add_text(key, value)
        return {"pnginfo": texts, "xmp": _xmp(image)}
    if image.format == "WEBP":
        lossless = b"VP8L" in data
        return {"xmp": _xmp(image), "lossless": lossless, "quality": 75 if lossless else MIN_QUALITY, "exact": True}
    if image.format == "JPEG2000":
        return {"no_jp2": data.startswith(b"\xff\x4f\xff\x51"), "comment": image.info.get("comment")}
    if image.format == "GIF":
        return {"comment": image.info.get("comment")}
    if image.format in ("JPEG", "MPO"):
        return _jpeg_extra(image)
    return {}


def _jpeg_extra(image: Image.Image) -> dict[str, Any]:
    """Keep the quantization tables if they are no coarser than quality 95, else use quality 95.

    Never progressive: Pillow's buffer is too small for a grainy progressive image of high quality.
    """
    extra: dict[str, Any] = {"quality": MIN_QUALITY, "xmp": _xmp(image), "comment": image.info.get("comment")}
    segments = [
        struct.pack(">HH", 0xFFED if name == "APP13" else 0xFFE1, len(block) + 2) + block
        for name, block in image.applist  # type: ignore[attr-defined]
        if name == "APP13" or (name == "APP1" and block.startswith(EXTENDED_XMP))
    ]
    extra["extra"] = b"".join(segments)
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
    packet = image.info.get("xmp") or image.info.get("XML:com.adobe.xmp")
    return xmp.upright(packet.encode() if isinstance(packet, str) else packet) if packet else None


def _encode_deep(array: np.ndarray, container: Container) -> bytes:
    if container.format == "JPEG2000":
        if array.ndim == 3:
            array = cv2.cvtColor(array, cv2.COLOR_RGBA2BGRA if array.shape[2] == 4 else cv2.COLOR_RGB2BGR)
        return cv2.imencode(".jp2", array, [cv2.IMWRITE_JPEG2000_COMPRESSION_X1000, 1000])[1].tobytes()
    # Pillow cannot write these pixels but can write the metadata: take that from a 1x1 PNG.
    return png.encode(array, _save(Image.new("L", (1, 1)), replace(container, format="PNG")))
