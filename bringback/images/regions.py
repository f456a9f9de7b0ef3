"""Turn the regions in an XMP packet, which name faces, together with the picture.

Read are the regions of the Metadata Working Group (Guidelines for Handling Image Metadata 2.0, 2010), those of ACDSee,
of the same form, and Microsoft's People Tagging.
"""

from typing import cast
from xml.dom import minidom

AREAS = ("http://ns.adobe.com/xmp/sType/Area#", "http://ns.acdsee.com/sType/Area#")  # center and size
SIZES = ("http://ns.adobe.com/xap/1.0/sType/Dimensions#", "http://ns.acdsee.com/sType/Dimensions#")  # of the picture
TAGS = "http://ns.microsoft.com/photo/1.2/t/Region#"  # upper left corner and size
NAMESPACES = (*AREAS, TAGS)
LISTS = (
    ("http://www.metadataworkinggroup.com/schemas/regions/", "Regions"),
    ("http://ns.acdsee.com/regions/", "Regions"),
    ("http://ns.microsoft.com/photo/1.2/", "RegionInfo"),
)


def turn(root: minidom.Element, orientation: int, width: int, height: int) -> None:
    """Turn all regions below `root` by an EXIF orientation, for the upright picture of `width` x `height`.

    Regions are relative to the picture as it is stored. Some programs draw them on the upright one nevertheless: if the
    size that comes with them says so, they are left alone.
    """
    swaps = orientation >= 5
    before = (height, width) if swaps else (width, height)
    below = elements(root)
    sizes = [size for one in below for space in SIZES if all(size := fields(one, space, "w", "h"))]
    told = [(_number(wide), _number(high)) for wide, high in sizes]
    if before != (width, height) and (width, height) in told:
        return
    for size, old in zip(sizes, told, strict=True):
        _put(size, old[::-1] if swaps else old)
    for one in below:
        for space in AREAS:
            *nodes, unit = fields(one, space, "x", "y", "w", "h", "unit")
            if nodes[0] is None or nodes[1] is None:
                continue
            across, down = before if unit is not None and unit.nodeValue == "pixel" else (1, 1)
            x, y, *sides = map(_number, nodes)
            x, y = _turned(x / across, y / down, orientation)
            across, down = (down, across) if swaps else (across, down)
            _put(nodes, (x * across, y * down, *(sides[::-1] if swaps else sides)))
        (box,) = fields(one, TAGS, "Rectangle")
        if box is not None:
            x, y, *sides = map(float, (box.nodeValue or "").split(","))
            x, y = _turned(x + sides[0] / 2, y + sides[1] / 2, orientation)
            sides = sides[::-1] if swaps else sides
            box.nodeValue = ", ".join(f"{value:.6f}" for value in (x - sides[0] / 2, y - sides[1] / 2, *sides))


def resize(root: minidom.Element, before: tuple[int, int], size: tuple[int, int]) -> None:
    """Make all sizes below `root`, and regions that are in pixels, those of the picture at another width and height.

    Sizes are scaled as they are told: they may be those of a copy. Shares of the picture need no change.
    """
    across, down = size[0] / before[0], size[1] / before[1]
    for one in elements(root):
        for space in SIZES:
            sides = fields(one, space, "w", "h")
            _put(sides, (round(across * _number(sides[0])), round(down * _number(sides[1]))))
        for space in AREAS:
            *nodes, unit = fields(one, space, "x", "y", "w", "h", "unit")
            if unit is not None and unit.nodeValue == "pixel":
                x, y, wide, high = map(_number, nodes)
                _put(nodes, (across * x, down * y, across * wide, down * high))


def remove(root: minidom.Element) -> bool:
    """Remove the lists of regions below `root`; whether there were any."""
    found = False
    for one in elements(root):
        kept = [node for node in one.childNodes if (node.namespaceURI, node.localName) not in LISTS]
        found |= len(kept) < len(one.childNodes)
        one.childNodes[:] = kept
    return found


def elements(root: minidom.Element) -> list[minidom.Element]:
    """`root` and all elements below it."""
    return [root, *cast("list[minidom.Element]", root.getElementsByTagName("*"))]


def fields(element: minidom.Element, space: str, *names: str) -> list[minidom.Node | None]:
    """The nodes with the values of properties, which are attributes or child elements; None where there is none."""
    below = {child.localName: child.firstChild for child in element.childNodes if child.namespaceURI == space}
    return [element.getAttributeNodeNS(space, name) or below.get(name) for name in names]


def _turned(x: float, y: float, orientation: int) -> tuple[float, float]:
    """Where a point of the stored picture, in [0, 1], lies in the upright one."""
    if orientation >= 5:
        x, y = y, x
    return 1 - x if orientation in (2, 3, 6, 7) else x, 1 - y if orientation in (3, 4, 7, 8) else y


def _number(node: minidom.Node | None) -> float:
    return float(node.nodeValue or "") if node is not None else 0.0


def _put(nodes: list[minidom.Node | None], values: tuple[float, ...]) -> None:
    for node, value in zip(nodes, values, strict=True):
        if node is not None:
            node.nodeValue = f"{value:.6f}".rstrip("0").rstrip(".")
