"""RAW files of cameras, by rawpy, which is an extra of this package; they are read only."""

from io import BytesIO

import numpy as np

from bringback.errors import CodecError
from bringback.images import tiff, xmp
from bringback.images.container import Container, check_size, missing


def decode(data: bytes, max_pixels: int) -> tuple[np.ndarray, Container]:
    """The upright pixels, 16-bit sRGB by the camera's white balance, to be written as a TIFF; raises `CodecError`.

    Nothing is brightened, as what is light would be clipped.
    """
    try:
        import rawpy
    except ImportError:
        raise missing("RAW") from None
    try:
        raw = rawpy.imread(BytesIO(data))
    except rawpy.LibRawError:
        raise CodecError("broken, or no RAW file of a camera that is known") from None
    with raw:
        check_size(raw.sizes.raw_width, raw.sizes.raw_height, max_pixels)
        array = raw.postprocess(
            use_camera_wb=True,
            no_auto_bright=True,
            output_bps=16,
            output_color=rawpy.ColorSpace.sRGB,
            gamma=(2.4, 12.92),
        )
    # Most of them are TIFFs in their own right.
    exif, packet = tiff.describing(data, camera=True), tiff.xmp(data)
    extra = {"compress": True, "xmp": xmp.upright(packet) if packet else None}
    return np.ascontiguousarray(array), Container("TIFF", exif, extra=extra)
