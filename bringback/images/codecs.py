"""Decode image files to arrays and encode arrays to files, for all formats.

Arrays are uint8 or uint16 of shape (H, W) gray, (H, W, 2) gray and alpha, (H, W, 3) RGB or (H, W, 4) RGBA. Pillow
handles 8 bits a channel. It cannot hold 16-bit color, which OpenCV reads and `png` and `tiff` write. HEIF, camera RAW
files and unusual TIFFs have their own modules.
"""

import re
import struct
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from io import BytesIO
from pathlib import PurePath
from typing import Any, TypeVar

import cv2
import numpy as np
from PIL import Image, PngImagePlugin, UnidentifiedImageError

from bringback.errors import CodecError
from bringback.images import heif, jpeg, jxl, layouts, png, raw, tiff, xmp
from bringback.images.container import MAX_PIXELS, Container, check_size, of_16_bits, upright
from bringback.images.jpeg import EXTENDED_XMP, LONGEST, MIN_QUALITY
from bringback.images.modes import BY_NAME, FORMATS, MORE, beyond_limit, from_cmyk, open_any_size, without_warnings
from bringback.images.shards import RAW

__all__ = ["EXTENDED_XMP", "MAX_PIXELS", "CodecError", "Container", "decode", "encode", "from_image"]

NOTED = ("JPEG", "PNG", "TIFF", "WEBP", "HEIF", "AVIF")  # formats that can hold XMP
TELLING = ("xmp", "comment", "extra", "pnginfo")  # keys of `extra` removed by --strip-metadata, in addition to EXIF
LONGEST_SIDE = {"JPEG": 65_500, "WEBP": 16_383, "GIF": 65_535}  # pixels that the format, or its library, has room for
INFRARED_PAGE = "the second page, the infrared channel of the same photo, is left out"
MASK_PAGE = "a page that is marked as a mask (infrared?) is left out"
LOSSY = ("JPEG", "WEBP", "AVIF")
# What decoders written in Python stumble over in broken files; their words mean nothing to people.
NONSENSE = (TypeError, AttributeError, LookupError, ArithmeticError, AssertionError, struct.error)

T = TypeVar("T")


def decode(data: bytes, name: str = "", max_pixels: int = MAX_PIXELS) -> tuple[np.ndarray, Container]:
    """Decode a file to upright pixels and its `Container`; raises `CodecError`."""
    if not data:
        raise CodecError("the file is empty")
    suffix = PurePath(name).suffix.lower()
    try:
        with without_warnings():
            if suffix in RAW:
                array, container = raw.decode(data, max_pixels)
            elif heif.is_heif(data):
                array, container = heif.decode(data, max_pixels)
            elif tiff.is_tiff(data):
                array, container = _decode_tiff(data, max_pixels)
            elif jxl.is_jxl(data):
                array, container = _decode(jxl.to_jpeg(data, max_pixels), suffix, max_pixels)
                container = replace(container, format="JXL")
            else:
                array, container = _decode(data, suffix, max_pixels)
            return array, _fitted(container, array.shape[1], array.shape[0])
    except CodecError:
        raise
    except UnidentifiedImageError:
        raise CodecError(_refusal(data)) from None
    except MemoryError:
        raise CodecError("there is not enough memory to decode it") from None
    except NONSENSE:
        raise CodecError("broken or cut short: what it says of itself does not fit together") from None
    except Exception as error:  # decoders raise errors of any type on broken files
        reason = next(iter(str(error).splitlines()), repr(error))
        raise CodecError(f"broken or cut short: {reason}") from None


def _refusal(data: bytes) -> str:
    """Why a file is not read that Pillow does not know."""
    if data.startswith(b"\xff\xd8"):
        return jpeg.refusal(data) or "broken or cut short: it begins like a JPEG"
    if data.startswith(png.SIGNATURE):
        return "broken or cut short: it begins like a PNG"
    if data[4:12] in (b"ftypavif", b"ftypavis"):
        reads = "AVIF" in Image.OPEN
        return f"broken or cut short: it begins like an AVIF{'' if reads else ' (read by Pillow 11.3 or later)'}"
    return "not a picture (JPEG, PNG, TIFF, WebP, BMP, GIF, JPEG 2000, AVIF, JPEG XL, PPM and HEIF are read)"


def _fitted(container: Container, width: int, height: int) -> Container:
    """The container with metadata that is true of the upright picture of this size, and of nothing else."""
    exif, extra, warnings = container.exif, dict(container.extra), list(container.warnings)
    if exif:
        block = exif
        exif = _or(None, lambda: tiff.upright(block, width, height))

    def fit(packet: bytes) -> bytes:
        fitted, lost = xmp.fitted(packet, container.orientation, width, height)
        warnings.extend(f"{what} is left out" for what in lost)
        return fitted

    if extra.get("xmp"):
        extra["xmp"] = fit(extra["xmp"])
        if EXTENDED_XMP in extra.get("extra", b""):
            extra["extra"], extra["xmp"] = jpeg.fit_extended(extra["extra"], extra["xmp"], fit)
    return replace(container, exif=exif, extra=extra, warnings=tuple(dict.fromkeys(warnings)))


def _decode(data: bytes, suffix: str, max_pixels: int) -> tuple[np.ndarray, Container]:
    """Any file but a TIFF, HEIF or RAW file."""
    chunks = png.Chunks()
    if data.startswith(png.SIGNATURE):
        data, chunks = png.split(data)
    image = open_any_size(data, suffix)
    check_size(*image.size, max_pixels)
    image.info.update(png.info(chunks))
    deep = _is_deep(data, image)
    if image.format in ("JPEG", "MPO"):
        array, container = _decode_jpeg(data, image)
    elif deep and image.format == "PPM":  # which Pillow makes int32
        array, container = _decode_deep(data, image, max_pixels), Container("PPM")
    else:
        _load(image)
        array, container = from_image(image)
        array = _decode_deep(data, image, max_pixels) if deep else array
    if image.format == "PNG":
        array, chunks = png.as_shown(array, chunks)
    plain = {"quality": MIN_QUALITY} if container.format in LOSSY else {}
    container = replace(
        container,
        exif=_or(None, lambda: _exif(image)),
        extra=_or(plain, lambda: _extra(data, image, chunks)),
        orientation=_or(1, lambda: _orientation(image)),
        warnings=_or((), lambda: _left_out(data, image, chunks)),
    )
    return upright(array, container.orientation), container.turned()


def _load(image: Image.Image) -> None:
    with beyond_limit(image.width * image.height):
        image.load()


def _decode_jpeg(data: bytes, image: Image.Image) -> tuple[np.ndarray, Container]:
    def load(data: bytes) -> Image.Image:
        again = open_any_size(data)
        _load(again)
        return again

    ends = data.rstrip(b"\0").endswith(jpeg.END)
    try:
        _load(image)
    except OSError:
        if ends:
            raise
        image = jpeg.completed(data, load)
    else:
        if not ends and data.endswith(jpeg.FILLED):  # which are taken for pixels
            jpeg.completed(data, load)
    return from_image(image)


def _decode_tiff(data: bytes, max_pixels: int) -> tuple[np.ndarray, Container]:
    left_out, page = _check_pages(data)
    try:
        usual = not layouts.is_unusual(data)
        array, container = _decode_usual_tiff(data, max_pixels) if usual else layouts.decode(data, max_pixels)
    except OSError as error:
        if not isinstance(error, UnidentifiedImageError) and not layouts.may_lack(data):
            raise
        array, container = layouts.decode(data, max_pixels)
    more, infrared = container.extra.get("unspecified"), None
    if more is not None:
        left_out, infrared = (*left_out, unspecified_kept(more.shape[2])), more[..., 0]
    elif page:
        try:
            infrared = layouts.plane(data, page, array.shape[:2], container.orientation)
        except Exception as error:  # as of decoders
            reason = error if isinstance(error, CodecError) else "it is broken"
            left_out = (*left_out, f"the infrared page is not looked at for dust: {reason}")
    return array, replace(container, infrared=infrared, warnings=(*container.warnings, *left_out))


def _decode_usual_tiff(data: bytes, max_pixels: int) -> tuple[np.ndarray, Container]:
    """By Pillow; by OpenCV if it has 16 bits."""
    image = open_any_size(data)
    check_size(*image.size, max_pixels)
    tags = image.tag_v2  # type: ignore[attr-defined]
    bits, orientation = tags.get(tiff.BITS, (1,)), tiff.orientation(data)
    _load(image)
    array, container = from_image(image)
    extra = {"compress": image.info.get("compression", "raw") != "raw", "xmp": tiff.xmp(data)}
    left_out = []
    if 16 in bits and image.mode == "CMYK":
        left_out.append("CMYK of 16 bits is converted to RGB of 8 bits")
    elif 16 in bits:
        array = _decode_deep(data, image, max_pixels)
        array = array if tiff.is_big(data) else upright(array, orientation)  # which OpenCV did with a BigTIFF
        if array.shape[2:] == (4,) and not set(tags.get(tiff.EXTRA_SAMPLES, ())) & {tiff.PREMULTIPLIED, tiff.ALPHA}:
            array, extra["unspecified"] = np.ascontiguousarray(array[..., :3]), array[..., 3:]
    elif bits == (12,):
        array = of_16_bits(array, 4095)  # Pillow scales all but these
    elif tags.get(tiff.PHOTOMETRIC) == layouts.RGB and len(bits) > 3 and array.shape[2:] == (3,):
        with suppress(CodecError):  # of what is not installed
            return layouts.decode(data, max_pixels)
        left_out.append(unspecified_left_out(len(bits) - 3))
    known = replace(container, exif=_or(None, lambda: tiff.describing(data)), extra=extra, orientation=orientation)
    return array, replace(known.turned(), warnings=tuple(left_out))


def unspecified_kept(channels: int) -> str:
    """The word about channels that are neither color nor alpha, and are written as they were read."""
    return f"channels of unspecified use (infrared?) are kept as scanned: {channels}"


def unspecified_left_out(channels: int) -> str:
    """The word about channels that are neither color nor alpha, and are not written."""
    return f"channels of unspecified use (infrared?) are left out: {channels}"


def _or(otherwise: T, read: Callable[[], T]) -> T:
    """The result of `read`, or `otherwise` if it raises: invalid metadata must not prevent decoding the pixels."""
    try:
        return read()
    except Exception:
        return otherwise


def _check_pages(data: bytes) -> tuple[tuple[str, ...], int]:
    """The words about a page of a TIFF that is left out, and its number if it is infrared, else 0.

    Raises `CodecError` if it holds several photos.
    """
    pages = tiff.pages(data)
    full = [page for page in pages if page.full]
    if len(full) == 2 and full[0].size == full[1].size and full[0].samples >= 3 and full[1].samples == 1:
        return (INFRARED_PAGE,), pages.index(full[1])
    if len(full) > 1:
        alike = ", all of one size" if len({page.size for page in full}) == 1 else ""
        infrared = "; infrared is known by being gray beside color" if alike else ""
        raise CodecError(
            f"{len(full)} pages: split it first (for example with tiffsplit), one photo has one{alike}{infrared}"
        )
    if pages and not pages[0].full and (full or tiff.has_subfiles(data)):
        raise CodecError("a thumbnail comes first: a RAW file is known by its suffix, save others as a plain TIFF")
    masks = [number for number, page in enumerate(pages) if number and page.mask and page.size == pages[0].size]
    if masks:
        return (MASK_PAGE,), masks[0]
    return (), 0


def from_image(image: Image.Image) -> tuple[np.ndarray, Container]:
    """Convert a Pillow image, as it is in memory, to an array and a container; raises `CodecError`."""
    info, format, icc = image.info, image.format, image.info.get("icc_profile")
    if image.mode == "CMYK":
        image, icc = from_cmyk(image, icc), None
    elif image.mode == "LAB":
        array = layouts.from_lab(np.asarray(image), signed=True)
        return array, Container(_known(format), info.get("exif"), None, _dpi(info))
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
    return array, Container(_known(format), info.get("exif"), icc, _dpi(info))


def _known(format: str | None) -> str:
    known = (*FORMATS, *MORE, *BY_NAME.values())
    return "JPEG" if format == "MPO" else format if format in known else "PNG"


def _dpi(info: Mapping[Any, Any]) -> tuple[float, float] | None:
    dpi = _or(None, lambda: (float(info["dpi"][0]), float(info["dpi"][1])))
    # NaN (from 0/0) fails too; JPEG stores 16 bits
    return dpi if dpi and all(0 < value < 65535 for value in dpi) else None


def encode(
    array: np.ndarray, container: Container, note: Mapping[str, str] | None = None, strip: bool = False
) -> bytes:
    """Encode to a file in the container's format; see `Photo.encode`."""
    if container.format == "JXL":
        return jxl.of_jpeg(encode(array, replace(container, format="JPEG"), note, strip))
    if strip:
        kept = {name: value for name, value in container.extra.items() if name not in TELLING}
        if "pnginfo" in container.extra:
            kept["pnginfo"] = png.colors(container.extra["pnginfo"])
        container = replace(container, exif=None, extra=kept)
    elif note and container.format in NOTED:
        packet = xmp.noted(container.extra.get("xmp"), note)
        if container.format != "JPEG" or len(packet) <= LONGEST:
            container = replace(container, extra={**container.extra, "xmp": packet})
    height, width = array.shape[:2]
    if max(height, width) > (most := LONGEST_SIDE.get(container.format, max(height, width))):
        raise CodecError(f"{container.format} holds {most} pixels a side, not {width}x{height}: name another format")
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


def _is_deep(data: bytes, image: Image.Image) -> bool:
    """Whether the file, no TIFF, has 16 bits a channel (Pillow reduces 16-bit color to 8 bits)."""
    if image.format == "PNG":
        return data[24] == 16
    if image.format == "PPM":
        return image.mode != "F" and _top_of_ppm(data) > 255
    if image.format == "JPEG2000":
        size_marker = data.find(b"\xff\x4f\xff\x51")
        return data[size_marker + 42] & 0x7F == 15  # Ssiz of the first component: bits - 1
    return False


def _top_of_ppm(data: bytes) -> int:
    """The value of white in a PGM or PPM: the third number of its header."""
    header = re.match(rb"P[2356](?:(?:\s|#[^\n]*\n)+(\d+)){2}(?:\s|#[^\n]*\n)+(\d+)", data[:4096])
    return int(header[2]) if header else 255


def _decode_deep(data: bytes, image: Image.Image, max_pixels: int) -> np.ndarray:
    if image.format == "TIFF":
        data = tiff.reset_orientation(data)  # OpenCV applies a TIFF's; this does not reset a BigTIFF's
    if image.format == "JPEG2000":  # the codestream has a size of its own, which OpenCV uses
        right, bottom, left, top = struct.unpack_from(">4I", data, data.find(b"\xff\x4f\xff\x51") + 8)
        check_size(max(right - left, 0), max(bottom - top, 0), max_pixels)
    array = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    told = image.tag_v2 if image.format == "TIFF" else {}  # type: ignore[attr-defined]
    if array is None or array.dtype != np.uint16:
        raise CodecError(f"a 16-bit {image.format} of a kind that is not supported; save it as a plain 16-bit TIFF")
    if array.shape[1::-1] != image.size and image.format != "TIFF":
        raise CodecError("broken: it gives its size in two ways")
    if image.format == "PPM" and (top := _top_of_ppm(data)) < 65535:
        array = of_16_bits(array, top)
    if told.get(tiff.PHOTOMETRIC) == 0:
        return np.uint16(65535) - array  # WhiteIsZero, which OpenCV does not invert
    if array.ndim == 2:
        clear = image.info.get("transparency") if image.format == "PNG" else None  # a gray level, ignored by OpenCV
        return array if clear is None else np.dstack([array, np.where(array == clear, 0, 65535).astype(np.uint16)])
    if image.format == "PNG" and data[25] == png.COLOR_TYPES[2]:
        return array[..., [0, 3]]
    array = cv2.cvtColor(array, cv2.COLOR_BGRA2RGBA if array.shape[2] == 4 else cv2.COLOR_BGR2RGB)
    premultiplied = array.shape[2] == 4 and told.get(tiff.EXTRA_SAMPLES) == (tiff.PREMULTIPLIED,)
    return layouts.unmultiplied(array) if premultiplied else array


def _orientation(image: Image.Image) -> int:
    value = image.getexif().get(tiff.ORIENTATION, 1)
    return int(value) if value in range(1, 9) else 1


def _exif(image: Image.Image) -> bytes | None:
    raw = image.info.get("exif")
    if not raw and png.EXIF in image.info:
        raw = image.getexif().tobytes()
    return raw or None


def _left_out(data: bytes, image: Image.Image, chunks: png.Chunks) -> tuple[str, ...]:
    """Words about what of the file is not in the result."""
    if image.format == "AVIF" and heif.properties(data).get(b"av1C", bytes(3))[2] & 0x40:  # high_bitdepth
        return ("AVIF of more than 8 bits is reduced to 8",)
    views = jpeg.second_pictures(image)
    if views:
        return (f"{views + 1} pictures in it (a stereo pair or other views): the first is restored alone",)
    animated = image.format in ("GIF", "WEBP", "AVIF") and getattr(image, "is_animated", False)
    if animated or b"acTL" in dict(chunks):
        return ("of its frames the first is restored alone",)
    return ()


def _extra(data: bytes, image: Image.Image, chunks: png.Chunks) -> dict[str, Any]:
    """Keyword arguments for the writer that reproduce this file's encoding and remaining metadata."""
    if image.format == "PNG":
        return {"pnginfo": png.texts(chunks), "xmp": _xmp(image)}
    if image.format == "WEBP":
        lossless = _is_lossless(data)
        return {"xmp": _xmp(image), "lossless": lossless, "quality": 75 if lossless else MIN_QUALITY, "exact": True}
    if image.format == "JPEG2000":
        return {"no_jp2": data.startswith(b"\xff\x4f\xff\x51"), "comment": image.info.get("comment")}
    if image.format == "GIF":
        return {"comment": image.info.get("comment")}
    if image.format == "AVIF":
        return {"xmp": _xmp(image), "quality": MIN_QUALITY, "subsampling": "4:4:4"}
    if image.format == "TGA":
        return {"compression": image.info.get("compression")}
    if image.format in ("JPEG", "MPO"):
        return {**jpeg.extra(image), "xmp": _xmp(image)}
    return {}


def _is_lossless(data: bytes) -> bool:
    """Whether the pixels of a WebP, or of its first frame, are lossless: by the chunk that they are in."""
    place = 12
    while place + 8 <= len(data):
        name, size = struct.unpack_from("<4sI", data, place)
        if name in (b"VP8 ", b"VP8L"):
            return bool(name == b"VP8L")
        place += 24 if name == b"ANMF" else 8 + size + size % 2  # a frame has 16 bytes before its own chunks
    return False


def _xmp(image: Image.Image) -> bytes | None:
    packet = image.info.get("xmp") or image.info.get(png.XMP)
    return packet.encode() if isinstance(packet, str) else packet or None


def _encode_deep(array: np.ndarray, container: Container) -> bytes:
    if container.format in ("JPEG2000", "PPM"):
        if array.ndim == 3:
            array = cv2.cvtColor(array, cv2.COLOR_RGBA2BGRA if array.shape[2] == 4 else cv2.COLOR_RGB2BGR)
        suffix = {"JPEG2000": ".jp2", "PPM": ".pgm" if array.ndim == 2 else ".ppm"}[container.format]
        settings = [cv2.IMWRITE_JPEG2000_COMPRESSION_X1000, 1000] if suffix == ".jp2" else []
        return cv2.imencode(suffix, array, settings)[1].tobytes()
    # Pillow cannot write these pixels but can write the metadata: take that from a 1x1 PNG.
    return png.encode(array, _save(Image.new("L", (1, 1)), replace(container, format="PNG")))
