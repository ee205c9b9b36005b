"""The header of a JPEG: it says, without decoding, how large the image is, and lets a decoder stop at any row.

Markers and segments as in ITU-T T.81, annex B.
"""

import dataclasses
import struct

_FRAMES = 0xC0, 0xC1, 0xC2  # baseline, extended and progressive, all with Huffman codes
_PROGRESSIVE, _START_OF_SCAN, _RESTART_INTERVAL = 0xC2, 0xDA, 0xDD
_START, _END = b"\xff\xd8", b"\xff\xd9"
_MARGIN = 8  # further rows that the last wanted one may need: half-height chroma is interpolated between rows


@dataclasses.dataclass(frozen=True)
class Header:
    """A complete JPEG of 8 bits with one or three components.

    Attributes:
        height: of the image, in pixels.
        width: of the image, in pixels.
        height_at: position in the file of the two bytes that hold the height.
        end: position of the marker that ends the image.
        from_the_top: whether the data hold row after row, in one scan without restart markers.
    """

    height: int
    width: int
    height_at: int
    end: int
    from_the_top: bool


def read_header(data: bytes) -> Header | None:
    """Reads a file's header; None if it is not such a JPEG: another format, other components, or incomplete.

    Compressed data never hold the end marker, so one after the start of the scan ends the image; one before it may end
    a thumbnail.
    """
    if not data.startswith(_START):
        return None
    frame = components = None
    restarts, position = False, 2
    while position + 10 <= len(data) and data[position] == 0xFF:
        marker, length = data[position + 1], int.from_bytes(data[position + 2 : position + 4], "big")
        if marker in _FRAMES:
            frame, frame_at = marker, position
            precision, height, width, components = struct.unpack_from(">BHHB", data, position + 4)
            if precision != 8 or components not in (1, 3):
                return None
        elif marker == _RESTART_INTERVAL:
            restarts = True
        elif marker == _START_OF_SCAN:
            end = data.rfind(_END, position)
            if frame is None or end < 0:
                return None
            one_scan = frame != _PROGRESSIVE and data[position + 4] == components
            return Header(height, width, frame_at + 5, end, one_scan and not restarts)
        position += 2 + length
    return None


def cut_below(data: bytes, header: Header, rows: int) -> bytes | bytearray:
    """Cuts the image off a few rows below its first `rows`, which decode to the same pixels; or leaves it whole.

    A lower height in the header makes a decoder stop there. Zeros replace the end marker: a decoder that looks for it
    would complain about the data before it, and one that finds nothing after the last row would wait for more.
    """
    height = rows + _MARGIN
    if not header.from_the_top or height >= header.height:
        return data
    part = bytearray(memoryview(data)[: header.end]) + bytes(16)
    struct.pack_into(">H", part, header.height_at, height)
    return part
