"""JSON objects with a checksum: what is noticed, and what is taken as it is."""

import json

import numpy as np
import pytest

from errors import UserError
from training.run.json_objects import compute_row_checksum, parse_object, seal

CONTENT = {"epoch": 2, "gwa": 0.1, "reasons": {"kurtosis": "a ä"}, "betas": (1, 2.5), "none": None, "by": {1: True}}
TEXT = json.dumps(seal(CONTENT))


def test_the_content_is_what_was_written_in_any_layout():
    expected = json.loads(json.dumps(CONTENT))
    assert parse_object(TEXT, (), "here") == expected
    assert parse_object(json.dumps(json.loads(TEXT), indent=3), (), "here") == expected


@pytest.mark.parametrize("content", [{}, CONTENT, {"checksum": 3, "last": 1}, {"last": None}])
def test_what_has_no_checksum_is_taken_as_it_is(content):
    assert parse_object(json.dumps(content), (), "here") == json.loads(json.dumps(content))


def test_every_flipped_bit_is_noticed_or_does_no_harm():
    data, refused = TEXT.encode(), 0
    for bit in range(8 * len(data)):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        try:
            assert parse_object(damaged.decode(errors="replace"), (), "here") == json.loads(json.dumps(CONTENT))
        except UserError:
            refused += 1
    assert refused > 7 * len(data)


def test_a_checksum_of_a_row_is_of_its_values():
    row = np.arange(5)
    assert compute_row_checksum(row.astype(np.int16)) == compute_row_checksum(row.astype(np.uint8))
    others = [row[::-1], row[:4], row.astype(np.float32), row.reshape(5, 1), np.zeros(5, int)]
    assert len({compute_row_checksum(other) for other in [row, *others]}) == 6
