"""The header of a JPEG: how large the image is, and how to leave out rows at its bottom, without decoding it.

Markers and segments as in ITU-T T.81, annex B.
"""

import dataclasses
import struct

_FRAMES = 0xC0, 0xC1, 0xC2  # baseline, extended and progressive, all with Huffman codes
_PROGRESSIVE, _START_OF_SCAN, _RESTART_INTERVAL = 0xC2, 0xDA, 0xDD
_START, _END = b"\xff\xd8", b"\xff\xd9"
_MARGIN = 8  # rows that the last ones wanted may need: half-height chroma is interpolated between rows


@dataclasses.dataclass(frozen=True)
class Header:
    """A complete JPEG of 8 bits with one or three components.

    Attributes:
        height: of the image, in pixels.
        width: of the image, in pixels.
        height_at: position in the file of the two bytes that hold the height.
        end: position of the marker that ends the image.
        from_the_top: the data hold row after row, in one scan without marks to restart from.
    """

    height: int
    width: int
    height_at: int
    end: int
    from_the_top: bool


def read_header(data: bytes) -> Header | None:
    """The header of a file, or None where it is no such JPEG: another format, other components, or incomplete.

    Compressed data never hold the end marker, so one after the start of the scan is the image's own; one before may
    be a thumbnail's.
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


def upper_rows(data: bytes, header: Header, rows: int) -> bytes | bytearray:
    """A file whose first `rows` rows decode to the same pixels, with a few more or all the others below.

    A lower height in the header makes a decoder stop there. The end marker gives way to zeros: a decoder that looks for
    it would complain about the data on its way, and one that finds nothing after the last row would wait for more.
    """
    height = rows + _MARGIN
    if not header.from_the_top or height >= header.height:
        return data
    part = bytearray(memoryview(data)[: header.end]) + bytes(16)
    struct.pack_into(">H", part, header.height_at, height)
    return part
