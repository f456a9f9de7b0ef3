"""Read camera RAW files, by rawpy (an optional dependency)."""

from io import BytesIO

import numpy as np

from bringback.errors import CodecError
from bringback.images import tiff
from bringback.images.container import Container, check_size, missing


def decode(data: bytes, max_pixels: int) -> tuple[np.ndarray, Container]:
    """Upright 16-bit sRGB pixels with the camera's white balance, in a TIFF container; raises `CodecError`.

    Without automatic brightening, which would clip highlights.
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
    # Most RAW files are valid TIFFs.
    exif, packet = tiff.describing(data, camera=True), tiff.xmp(data)
    extra = {"compress": True, "xmp": packet}
    known = Container("TIFF", exif, extra=extra, orientation=tiff.orientation(data))
    return np.ascontiguousarray(array), known
