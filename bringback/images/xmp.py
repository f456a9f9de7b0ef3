"""Edit XMP packets as text: reset the orientation, add provenance properties."""

import re
from collections.abc import Mapping
from xml.sax.saxutils import escape

NAMESPACE = "urn:bringback:provenance:1"

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


def upright(xmp: bytes) -> bytes:
    """The packet with orientation 1."""
    return _ORIENTATION.sub(rb"\g<1>1", xmp)


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
