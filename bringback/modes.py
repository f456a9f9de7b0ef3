"""What product and training understand alike of Pillow's images; no more than Pillow is needed for it."""

from io import BytesIO
from typing import cast

from PIL import Image, ImageCms

FORMATS = ("JPEG", "PNG", "TIFF", "WEBP", "BMP", "GIF", "JPEG2000")  # no others: to read EPS, Pillow runs a program


def from_cmyk(image: Image.Image, icc: bytes | None) -> Image.Image:
    """A CMYK image as RGB, by its profile if it has a good one."""
    if icc:
        try:
            profile = ImageCms.ImageCmsProfile(BytesIO(icc))
            converted = ImageCms.profileToProfile(image, profile, ImageCms.createProfile("sRGB"), outputMode="RGB")
            return cast(Image.Image, converted)
        except (ImageCms.PyCMSError, OSError):
            pass  # a broken profile, or one for something else: Pillow's plain conversion is the better guess
    return image.convert("RGB")
