"""The page on reliability names tests that exist."""

import re

from repository import ROOT


def test_every_fault_has_a_test_that_exists():
    lines = (ROOT / "docs" / "reliability.md").read_text().splitlines()
    rows = [line for line in lines if re.match(r"\| (?!fault|case)", line)]
    assert len(rows) > 20
    for row in rows:
        file = None
        named = re.findall(r"`(\w+\.py)?(?:::(\w+))?`", row.split("|")[-2])
        assert named, row
        for other, test in named:
            file = other or file
            (path,) = (ROOT / "tests").rglob(file)
            assert f"def {test}" in path.read_text(), (file, test)
