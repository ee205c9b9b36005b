"""The picture in docs/architecture.md is that of the imports, and its lists are as short as they should be."""

import ast
import re

import pytest
from pages import PAGES

from repository import ROOT

PAGE = PAGES["docs/architecture.md"]
ROWS = [row.split() for row in re.findall(r"^    ((?:[a-z]+ +)+) {3,}\S", PAGE, re.MULTILINE)][::-1]
LEVEL = {room: level for level, rooms in enumerate(ROWS) for room in rooms}
WITHIN_A_ROW = {("training", "evaluation"), ("evaluation", "training"), ("datasets", "parallel"), ("reports", "sweeps")}


def imports(file):
    """The first part of each module that a file imports, also within functions."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.partition(".")[0]


def test_every_room_is_in_the_picture():
    assert set(LEVEL) == {path.parent.name for path in ROOT.glob("src/*/__init__.py")}
    assert all(f"| `src/{room}` |" in PAGE for room in LEVEL)


@pytest.mark.parametrize("room", LEVEL)
def test_imports_go_one_way(room):
    for file in (ROOT / "src" / room).rglob("*.py"):
        for other in set(imports(file)) & LEVEL.keys() - {room}:
            assert LEVEL[other] < LEVEL[room] or (room, other) in WITHIN_A_ROW, f"{file} imports {other}"


@pytest.mark.parametrize(
    ("heading", "most"),
    [("From an image on disk", 8), ("From a training step to a table", 8), ("To follow one training step", 7)],
)
def test_a_way_has_few_stops(heading, most):
    section = PAGE.partition(f"## {heading}")[2].partition("\n## ")[0]
    stops = re.findall(r"^(\d+)\. `(src/[\w/.]+)`", section, re.MULTILINE)
    assert [int(number) for number, _ in stops] == list(range(1, len(stops) + 1))
    assert 0 < len(stops) <= most
    assert len(stops) == len(re.findall(r"^\d+\. ", section, re.MULTILINE))
