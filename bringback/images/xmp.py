"""Edit XMP packets: make true what they tell of the picture, add provenance properties.

A packet is edited as text and is byte for byte the same elsewhere. It is parsed and written anew only if it has regions
to turn, or properties that are no longer true.
"""

import re
from collections.abc import Callable, Mapping
from fractions import Fraction
from xml.dom import minidom
from xml.sax.saxutils import escape

from defusedxml.minidom import parseString

from bringback.images import regions

NAMESPACE = "urn:bringback:provenance:1"
LONGEST, LARGEST = 4 << 20, 100_000  # bytes, and tags and attributes, of a packet that is parsed: a second at most

_END = b"</rdf:RDF>"
_NEW = (
    '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\n<x:xmpmeta xmlns:x="adobe:ns:meta/">'
    '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"></rdf:RDF></x:xmpmeta>\n<?xpacket end="w"?>'
).encode()
# Our properties, in the layout of any program, and a description that held nothing else. No match attempt goes past
# the next "<", which cannot occur within an XML tag, so matching takes linear time even on malicious packets.
_PROPERTY = re.compile(rb"<bringback:(\w+)>[^<]*</bringback:\1>|\sbringback:\w+=(?:\"[^\"<]*\"|'[^'<]*')")
_EMPTY = re.compile(
    rb"<rdf:Description(?=[^<>]*\sxmlns:bringback=)(?:\s+(?:rdf:about|xmlns:\w+)=(?:\"[^\"<]*\"|'[^'<]*'))*"
    rb"\s*(?:/>|>\s*</rdf:Description>)\s?"
)
_ORIENTATION = re.compile(rb"(tiff:Orientation(?:=\"|='|>))\d")
_WIDTH = re.compile(rb"((?:tiff:ImageWidth|exif:PixelXDimension)(?:=\"|='|>))\d+")
_HEIGHT = re.compile(rb"((?:tiff:ImageLength|exif:PixelYDimension)(?:=\"|='|>))\d+")
_RESOLUTION = re.compile(rb"(tiff:([XY])Resolution(?:=\"|='|>))(\d+)/(\d+)")

# What cameras append to a picture is not in our files. These namespaces tell of nothing else; properties about a film
# begin with these words, in the namespaces of several makers.
_GAIN_MAP = ("http://ns.adobe.com/hdr-gain-map/1.0/", "http://ns.apple.com/HDRGainMap/1.0/")
_APPENDED = tuple(
    f"http://ns.google.com/photos/{version}/container/{part}" for version in ("1.0", "dd/1.0") for part in ("", "item/")
)
_FILM = ("MotionPhoto", "MicroVideo")
_THUMBNAILS = "Thumbnails"  # of the picture before its restoration
_STALE = tuple(word.encode() for word in (*_GAIN_MAP, *_APPENDED, *_FILM, _THUMBNAILS))
_TURNED = tuple(space.encode() for space in regions.NAMESPACES)


def fitted(xmp: bytes, orientation: int, width: int, height: int) -> tuple[bytes, list[str]]:
    """The packet for a picture that was turned upright, by an EXIF orientation, and is now `width` x `height`.

    Face regions and sizes are turned with it. What tells of a film, a gain map or other appended pictures is removed,
    and so are thumbnails. The words returned name what was appended.
    """
    xmp = _ORIENTATION.sub(rb"\g<1>1", xmp)
    if orientation >= 5:
        xmp = _HEIGHT.sub(rb"\g<1>%d" % height, _WIDTH.sub(rb"\g<1>%d" % width, xmp))
    turns = orientation > 1 and any(word in xmp for word in _TURNED)
    if not turns and not any(word in xmp for word in _STALE):
        return xmp, []
    lost: list[str] = []

    def change(root: minidom.Element) -> bool:
        if turns:
            regions.turn(root, orientation, width, height)
        found, removed = _remove_stale(root)
        lost.extend(found)
        return turns or removed

    return _rewritten(xmp, change), lost


def of_part(xmp: bytes, width: int, height: int) -> bytes:
    """The packet for a part of the picture, of `width` x `height`: without regions, and with this size."""
    xmp = _HEIGHT.sub(rb"\g<1>%d" % height, _WIDTH.sub(rb"\g<1>%d" % width, xmp))
    return _rewritten(xmp, regions.remove) if any(word in xmp for word in _TURNED) else xmp


def resized(xmp: bytes, before: tuple[int, int], size: tuple[int, int]) -> bytes:
    """The packet for the picture at another size: width and height `before` and after; regions in pixels follow."""
    width, height = size
    xmp = _HEIGHT.sub(rb"\g<1>%d" % height, _WIDTH.sub(rb"\g<1>%d" % width, xmp))
    factors = {b"X": Fraction(width, before[0]), b"Y": Fraction(height, before[1])}

    def finer(found: re.Match[bytes]) -> bytes:
        told = Fraction(int(found[3]), max(int(found[4]), 1)) * factors[found[2]]
        told = told.limit_denominator(10000)
        return b"%s%d/%d" % (found[1], told.numerator, told.denominator)

    xmp = _RESOLUTION.sub(finer, xmp)
    if not any(word in xmp for word in _TURNED):
        return xmp

    def change(root: minidom.Element) -> bool:
        regions.resize(root, before, size)
        return True

    return _rewritten(xmp, change)


def _rewritten(xmp: bytes, change: Callable[[minidom.Element], bool]) -> bytes:
    """The packet after `change`, which says whether it changed anything; as it is if it cannot be parsed."""
    if len(xmp) > LONGEST or xmp.count(b"<") + xmp.count(b"=") > LARGEST:
        return xmp
    begin = next((at for word in (b"<x:xmpmeta", b"<rdf:RDF") if (at := xmp.find(word)) >= 0), 0)
    closing = xmp.rfind(b"<?xpacket")
    end = xmp.rfind(b">", begin, closing if closing > begin else len(xmp)) + 1
    try:
        root = parseString(xmp[begin:end], forbid_dtd=True).documentElement
        assert root is not None
        return xmp[:begin] + root.toxml().encode() + xmp[end:] if change(root) else xmp
    except Exception:  # broken, or nested too deep: it stays as it is
        return xmp


def _remove_stale(root: minidom.Element) -> tuple[list[str], bool]:
    """What was told of that is no longer in the file, and whether there was anything to remove."""
    found = set[str]()

    def stale(space: str | None, name: str | None) -> bool:
        about = {"film": (name or "").startswith(_FILM), "map": space in _GAIN_MAP, "more": space in _APPENDED}
        about["thumbnails"] = name == _THUMBNAILS
        found.update(kind for kind, is_so in about.items() if is_so)
        return any(about.values())

    for one in regions.elements(root):
        # All at once: to remove them one by one takes time that grows with the square of their number.
        one.childNodes[:] = [node for node in one.childNodes if not stale(node.namespaceURI, node.localName)]
        for attribute in list(one.attributes.values()):
            declares = attribute.prefix == "xmlns" and attribute.value in (*_GAIN_MAP, *_APPENDED)
            if declares or stale(attribute.namespaceURI, attribute.localName):
                one.removeAttributeNode(attribute)
    words = {"film": "the film of a motion photo", "map": "the HDR gain map", "more": "pictures appended to it"}
    lost = [words[kind] for kind in words if kind in found and (kind != "more" or not found & {"film", "map"})]
    return lost, bool(found)


def noted(xmp: bytes | None, note: Mapping[str, str]) -> bytes:
    """The packet with a property for each key of the note, replacing those of an earlier note; a new packet for None.

    Everything else is kept byte for byte. A packet without RDF is returned unchanged.
    """
    rest = xmp or _NEW
    if NAMESPACE.encode() in rest:
        rest = _EMPTY.sub(b"", _PROPERTY.sub(b"", rest))
    head, end, tail = rest.rpartition(_END)
    if not end:
        return xmp or _NEW
    properties = "".join(f"<bringback:{key}>{_text(value)}</bringback:{key}>" for key, value in note.items())
    ours = f'<rdf:Description rdf:about="" xmlns:bringback="{NAMESPACE}">{properties}</rdf:Description>\n'
    return head + ours.encode() + end + tail


def _text(value: str) -> str:
    return escape("".join(letter for letter in value if letter.isprintable()))  # control characters are invalid in XML
