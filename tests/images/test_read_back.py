"""Results of every kind of file, as other programs read them."""

import io
import os
import shutil
import subprocess
from pathlib import Path

import cv2
import imagecodecs
import numpy as np
import pillow_heif
import pytest
import tifffile
from made_files import every_kind
from PIL import Image

from bringback.images.photo import Photo

FORMATS = {"JPEG", "PNG", "TIFF", "WEBP", "BMP", "GIF", "JPEG2000", "AVIF", "JXL", "HEIF", "PPM", "TGA", "PCX"}

LOSSY = {"JPEG", "AVIF", "WEBP", "JXL", "HEIF"}


def by_pillow(data):
    image = Image.open(io.BytesIO(data))
    return np.asarray(image.convert("RGB") if image.mode == "P" else image)


def by_pillow_heif(data):
    return np.asarray(pillow_heif.open_heif(io.BytesIO(data), convert_hdr_to_8bit=False, hdr_to_16bit=True))


def by_opencv(data):
    array = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    return array if array.ndim == 2 else array[..., [2, 1, 0, *range(3, array.shape[2])]]


def by_tifffile(data):
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        return file.pages[0].asarray()


def by_libvips(data):
    return pytest.importorskip("pyvips").Image.new_from_buffer(data, "").numpy()


def by_exiftool(data):
    if not shutil.which("exiftool"):
        pytest.skip("no exiftool")
    told = subprocess.run(["exiftool", "-validate", "-warning", "-s3", "-"], input=data, capture_output=True)
    assert b"Error" not in told.stdout, told.stdout


# What each program reads.
READERS = {
    "Pillow": (by_pillow, FORMATS - {"JXL", "HEIF"}),
    "pillow-heif": (by_pillow_heif, {"HEIF"}),
    "OpenCV": (by_opencv, {"JPEG", "PNG", "TIFF", "WEBP", "BMP", "JPEG2000", "AVIF", "PPM"}),
    "tifffile": (by_tifffile, {"TIFF"}),
    "imagecodecs": (imagecodecs.imread, {"JPEG", "PNG", "TIFF", "WEBP", "JPEG2000", "AVIF", "JXL"}),
    "libvips": (by_libvips, {"JPEG", "PNG", "TIFF", "WEBP", "GIF"}),
    "exiftool": (by_exiftool, FORMATS - {"PCX", "TGA"}),
}


@pytest.mark.parametrize("program", READERS)
def test_results_are_read_by_other_programs(pixels, program):
    """Adds the counts to `$BRINGBACK_READ_BACK`, if that is set."""
    read, formats = READERS[program]
    counts = dict[str, int]()
    for name, data in every_kind(pixels).items():
        photo = Photo.decode(data, name)
        if photo.format not in formats or (program, name) == ("Pillow", "grayalpha.tif"):  # of 16 bits
            continue
        array, levels = read(photo.encode({"tool": "x"})), photo.array()
        counts[photo.format] = counts.get(photo.format, 0) + 1
        if array is None:  # metadata alone
            continue
        assert array.shape[:2] == levels.shape[:2], name
        shown, expected = (_rgb(one, photo) for one in (array, levels))
        assert np.abs(shown - expected).mean() < (3 if photo.format in LOSSY else 1.1), name
    assert counts.keys() == formats
    if place := os.environ.get("BRINGBACK_READ_BACK"):
        with Path(place).open("a") as file:
            file.write(f"{program}: {', '.join(f'{format} {count}' for format, count in sorted(counts.items()))}\n")


def _rgb(array, photo):
    """Levels from 0 to 255 of three channels, without alpha and infrared."""
    array = array.astype(np.float32) / (257 if array.itemsize > 1 else 1)
    array = array[..., None] if array.ndim == 2 else array
    return np.repeat(array[..., :1], 3, 2) if array.shape[2] < 3 else array[..., :3]
