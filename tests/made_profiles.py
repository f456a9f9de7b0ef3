"""ICC profiles made by code: matrix and curves, gray, and tables as scanners have them."""

import struct

import numpy as np

D50 = np.array([0.9642, 1.0, 0.8249])
D65 = (0.3127, 0.3290)
BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
PRIMARIES = {  # x and y of red, green, blue and white
    "srgb": ((0.64, 0.33), (0.30, 0.60), (0.15, 0.06), D65),
    "adobe": ((0.64, 0.33), (0.21, 0.71), (0.15, 0.06), D65),
    "p3": ((0.68, 0.32), (0.265, 0.69), (0.15, 0.06), D65),
    "prophoto": ((0.7347, 0.2653), (0.1596, 0.8404), (0.0366, 0.0001), (0.3457, 0.3585)),
    "scanner": ((0.60, 0.34), (0.31, 0.56), (0.16, 0.10), D65),  # smaller than sRGB
}
SRGB_CURVE = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)


def matrix(name):
    """Linear RGB to XYZ under D50, by columns."""
    *primaries, white = (np.array([x / y, 1, (1 - x - y) / y]) for x, y in PRIMARIES[name])
    columns = np.stack(primaries, axis=1)
    columns = columns * np.linalg.solve(columns, white)
    adapted = np.linalg.inv(BRADFORD) @ np.diag(BRADFORD @ D50 / (BRADFORD @ white)) @ BRADFORD
    return adapted @ columns


def xyz(values):
    return b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(value * 65536) for value in values))


def gamma(value):
    return b"curv\0\0\0\0" + struct.pack(">IH", 1, round(value * 256))


def table(values):
    levels = [round(value * 65535) for value in values]
    return b"curv\0\0\0\0" + struct.pack(f">I{len(levels)}H", len(levels), *levels)


def formula(kind, *numbers):
    packed = (round(value * 65536) for value in numbers)
    return b"para\0\0\0\0" + struct.pack(f">HH{len(numbers)}i", kind, 0, *packed)


def profile(tags, space=b"RGB ", pcs=b"XYZ ", kind=b"mntr"):
    named = {b"desc": b"desc\0\0\0\0" + struct.pack(">I", 5) + b"made\0" + bytes(78), **tags}
    named[b"wtpt"], start = xyz(D50), 132 + 12 * (len(named) + ("wtpt" not in named))
    entries, content = b"", b""
    for name, data in named.items():
        entries += struct.pack(">4sII", name, start + len(content), len(data))
        content += data + bytes(-len(data) % 4)
    head = b"lcms" + struct.pack(">I", 0x02400000) + kind + space + pcs + struct.pack(">6H", 2026, 1, 1, 0, 0, 0)
    head += b"acsp" + bytes(28) + struct.pack(">3i", *(round(value * 65536) for value in D50))
    body = struct.pack(">I", len(named)) + entries + content
    return struct.pack(">I", 128 + len(body)) + head.ljust(124, b"\0") + body


def shaper(name, curve, **more):
    columns = matrix(name)
    tags = {key: xyz(columns[:, number]) for number, key in enumerate((b"rXYZ", b"gXYZ", b"bXYZ"))}
    return profile(tags | dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve), **more)


def gray(curve, **more):
    return profile({b"kTRC": curve}, b"GRAY", **more)


def scanner(side=17, power=1.8):
    """A table to CIELab and none back: a gamma, cross talk between the channels, and a slight warm cast."""
    axis = np.linspace(0, 1, side)
    levels = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1)
    mixed = levels**power @ np.array([[0.86, 0.10, 0.04], [0.06, 0.88, 0.06], [0.03, 0.12, 0.85]]).T
    light = (mixed * [1.0, 0.97, 0.9]) @ matrix("adobe").T / D50
    root = np.where(light > (6 / 29) ** 3, np.cbrt(light), light / (3 * (6 / 29) ** 2) + 4 / 29)
    x, y, z = np.moveaxis(root, -1, 0)
    lab = np.stack([(116 * y - 16) * 0xFF00 / 100, (500 * (x - y) + 128) * 256, (200 * (y - z) + 128) * 256], axis=-1)
    cells = np.clip(np.rint(lab), 0, 65535).astype(">u2").tobytes()
    straight = struct.pack(">2H", 0, 65535) * 3
    head = b"mft2\0\0\0\0" + struct.pack(">4B9i2H", 3, 3, side, 0, *(65536 * np.eye(3, dtype=int)).flat, 2, 2)
    return profile({b"A2B0": head + straight + cells + straight}, pcs=b"Lab ", kind=b"scnr")


SRGB = shaper("srgb", formula(3, *SRGB_CURVE))
ADOBE = shaper("adobe", gamma(563 / 256))
PROPHOTO = shaper("prophoto", formula(3, 1.8, 1, 0, 1 / 16, 1 / 32))
LINEAR = shaper("srgb", gamma(1))
SMALL = shaper("scanner", table(np.linspace(0, 1, 1024) ** 1.9), kind=b"scnr")
SCANNER = scanner()
GRAY22 = gray(gamma(2.2))
DOT_GAIN = gray(table(1 - np.sin(np.pi / 2 * (1 - np.linspace(0, 1, 256))) ** 0.75))
