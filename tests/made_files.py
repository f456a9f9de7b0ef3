"""A file of every kind that is read, made by other programs' writers: for what all kinds have to stand."""

import io
import struct
from pathlib import Path

import cv2
import imagecodecs
import numpy as np
import pillow_heif
import tifffile
from PIL import Image, ImageCms

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
XMP = (
    f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="{RDF}"><rdf:Description rdf:about="" '
    'xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="1" tiff:Artist="Oma"/></rdf:RDF></x:xmpmeta>'
).encode()


def pillow(array: np.ndarray, format: str, mode: str | None = None, **options: object) -> bytes:
    """The file that Pillow writes, with EXIF, profile and resolution where the format has them."""
    exif = Image.Exif()
    exif[271], exif[306] = "Leica", "1931:05:01 12:00:00"
    image, file = Image.fromarray(array), io.BytesIO()
    image = image.convert(mode) if mode else image
    profile = {} if mode == "CMYK" else {"icc_profile": SRGB}
    image.save(file, format, exif=exif, dpi=(300, 300), **profile, **options)
    return file.getvalue()


def tif(array: np.ndarray, photometric: str | int = "rgb", **options: object) -> bytes:
    """The file that tifffile writes."""
    file = io.BytesIO()
    tags = [(271, "s", 0, "Leica", True), (700, "B", len(XMP), XMP, True)]
    tifffile.imwrite(file, array, photometric=photometric, metadata=None, extratags=tags, **options)
    return file.getvalue()


def opencv(array: np.ndarray, suffix: str) -> bytes:
    """The file that OpenCV writes."""
    array = array[..., ::-1] if array.ndim == 3 else array
    settings = [cv2.IMWRITE_JPEG2000_COMPRESSION_X1000, 1000] if suffix == ".jp2" else []
    return cv2.imencode(suffix, array, settings)[1].tobytes()


def heif(array: np.ndarray, **options: object) -> bytes:
    """The file that pillow-heif writes."""
    mode = {2: "L", 3: "RGB"}[array.ndim] + (";16" if array.dtype == np.uint16 else "")
    file, known = io.BytesIO(), {"xmp": XMP, "icc_profile": SRGB, "quality": 98, "chroma": "444"}
    pillow_heif.encode(mode, array.shape[1::-1], array.tobytes(), file, **known | options)
    return file.getvalue()


def pages(*arrays: np.ndarray) -> bytes:
    """A TIFF of several pages."""
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as writer:
        for array in arrays:
            writer.write(array, photometric="rgb" if array.ndim == 3 else "minisblack", metadata=None)
    return file.getvalue()


def dng(levels: np.ndarray) -> bytes:
    """A camera RAW file: a gray mosaic of 16 bits."""
    matrix = struct.pack("<18i", *[value for one in (1, 0, 0, 0, 1, 0, 0, 0, 1) for value in (one, 1)])
    tags = [
        (50706, 1, 4, b"\1\4\0\0", True), (50708, "s", 0, "Test", True), (271, "s", 0, "Test", True),
        (33421, 3, 2, (2, 2), True), (33422, 1, 4, b"\0\1\1\2", True), (50721, 10, 9, matrix, True),
        (50717, 4, 1, 65535, True), (50778, 3, 1, 21, True),
    ]  # fmt: skip
    file = io.BytesIO()
    tifffile.imwrite(file, levels, photometric=32803, metadata=None, extratags=tags)
    return file.getvalue()


def every_kind(pixels: np.ndarray) -> dict[str, bytes]:
    """Files by their names, of the picture (H, W, 3) uint8."""
    gray, deep, mono = pixels[..., 0], pixels.astype(np.uint16) * 257, pixels[..., 0].astype(np.uint16) * 257
    alpha, lab = np.dstack([pixels, gray]), cv2.cvtColor(pixels, cv2.COLOR_RGB2LAB)
    ink = np.dstack([255 - pixels, np.zeros_like(gray)])
    return {
        "plain.jpg": pillow(pixels, "JPEG", quality=95, xmp=XMP),
        "progressive.jpg": pillow(pixels, "JPEG", quality=95, progressive=True),
        "gray.jpg": pillow(gray, "JPEG", quality=95),
        "cmyk.jpg": pillow(pixels, "JPEG", "CMYK", quality=95),
        "open.jpg": pillow(pixels, "JPEG", quality=95)[:-2],
        "stereo.mpo": pillow(pixels, "MPO", save_all=True, append_images=[Image.fromarray(pixels[::-1].copy())]),
        "plain.png": pillow(pixels, "PNG"),
        "alpha.png": pillow(alpha, "PNG"),
        "palette.png": pillow(pixels, "PNG", "P"),
        "moving.png": pillow(pixels, "PNG", save_all=True, append_images=[Image.fromarray(pixels[::-1].copy())]),
        "deep.png": opencv(deep, ".png"),
        "gray16.png": opencv(mono, ".png"),
        "plain.tif": pillow(pixels, "TIFF"),
        "fax.tif": pillow(gray, "TIFF", "1", compression="group4"),
        "jpeg.tif": pillow(pixels, "TIFF", compression="jpeg"),
        "cmyk.tif": pillow(pixels, "TIFF", "CMYK", compression="tiff_lzw"),
        "deep.tif": tif(deep, compression="zlib", predictor=2),
        "motorola.tif": tif(deep, byteorder=">", rowsperstrip=8),
        "big.tif": tif(deep, bigtiff=True),
        "tiles.tif": tif(pixels, tile=(16, 16), compression="zlib"),
        "infrared.tif": tif(np.dstack([deep, mono]), extrasamples=["unspecified"]),
        "infrared8.tif": tif(alpha, extrasamples=["unspecified"]),
        "pages.tif": pages(deep, mono),
        "grayalpha.tif": tif(deep[..., :2], "minisblack", extrasamples=["assocalpha"]),
        "apart.tif": tif(deep.transpose(2, 0, 1), planarconfig="separate", compression="zlib"),
        "white.tif": tif(255 - gray, "miniswhite"),
        "white16.tif": tif(65535 - mono, "miniswhite", byteorder=">"),
        "lab8.tif": tif(lab, 9),
        "lab16.tif": tif(lab.astype(np.uint16) * 257, 9, compression="lzma"),
        "cmyk16.tif": tif(ink.astype(np.uint16) * 257, "separated"),
        "zstd.tif": tif(deep, compression="zstd"),
        "lzma.tif": tif(pixels, compression="lzma"),
        "lerc.tif": tif(pixels, compression="lerc"),
        "webp.tif": tif(pixels, compression="webp"),
        "lossy.webp": pillow(pixels, "WEBP", quality=90, xmp=XMP),
        "lossless.webp": pillow(alpha, "WEBP", lossless=True),
        "moving.webp": pillow(pixels, "WEBP", save_all=True, append_images=[Image.fromarray(pixels[::-1].copy())]),
        "plain.bmp": pillow(pixels, "BMP"),
        "palette.gif": pillow(pixels, "GIF"),
        "moving.gif": pillow(pixels, "GIF", save_all=True, append_images=[Image.fromarray(pixels[::-1].copy())]),
        "plain.jp2": pillow(pixels, "JPEG2000"),
        "deep.jp2": opencv(deep, ".jp2"),
        "plain.avif": pillow(pixels, "AVIF", quality=95, xmp=XMP),
        "alpha.avif": pillow(alpha, "AVIF", quality=95),
        "deep.avif": imagecodecs.avif_encode((deep >> 6), bitspersample=10),
        "plain.jxl": imagecodecs.jpegxl_encode_jpeg(pillow(pixels, "JPEG", quality=95, xmp=XMP)),
        "plain.heic": heif(pixels),
        "gray.heic": heif(gray),
        "deep.heic": heif(deep, bit_depth=12),
        "plain.ppm": opencv(pixels, ".ppm"),
        "deep.ppm": opencv(deep, ".ppm"),
        "gray.pgm": opencv(gray, ".pgm"),
        "deep.pgm": opencv(mono, ".pgm"),
        "plain.tga": pillow(pixels, "TGA"),
        "packed.tga": pillow(alpha, "TGA", compression="tga_rle"),
        "plain.pcx": pillow(pixels, "PCX"),
        "camera.dng": dng(np.tile(mono, (2, 2))),
    }  # fmt: skip


def write_every_kind(pixels: np.ndarray, folder: Path) -> list[Path]:
    """The files of `every_kind` in a new folder."""
    folder.mkdir(parents=True)
    for name, data in every_kind(pixels).items():
        (folder / name).write_bytes(data)
    return sorted(folder.iterdir())
