"""The pages of the documentation, cut into what tests run and check: Python blocks, commands, code spans."""

import re
from typing import NamedTuple

from repository import ROOT

PAGES = {
    str(path.relative_to(ROOT)): path.read_text() for path in [ROOT / "README.md", *sorted(ROOT.glob("docs/*.md"))]
}
_FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class Block(NamedTuple):
    """A Python block: the page's name, the heading above the block, its first line in the page, and its code."""

    page: str
    heading: str
    line: int
    code: str

    def run(self, names):
        """Executes the block in a namespace; an error shows the line of the page."""
        exec(compile("\n" * (self.line - 1) + self.code, ROOT / self.page, "exec"), names)


def python_blocks(page):
    """All fenced Python blocks of a page, in order."""
    blocks = []
    for fence in _FENCE.finditer(PAGES[page]):
        if fence[1] == "python":
            before = _FENCE.sub("", PAGES[page][: fence.start()])
            heading = re.findall(r"^#+ (.*)$", before, re.MULTILINE)[-1]
            line = PAGES[page].count("\n", 0, fence.start(2)) + 1
            blocks.append(Block(page, heading, line, fence[2]))
    return blocks


def command_lines(page):
    """The lines of all shell blocks, fenced or indented, and all code spans; continued lines are joined."""
    text = re.sub(r"\\\n *", "", PAGES[page])
    fenced = [line for fence in _FENCE.finditer(text) if fence[1] == "bash" for line in fence[2].splitlines()]
    prose = _FENCE.sub("", text)
    indented = [line.strip() for line in re.findall(r"^ {4,}\S.*$", prose, re.MULTILINE)]
    return fenced + indented + code_spans(page)


def code_spans(page):
    """What stands between backquotes in the text, with line breaks as spaces."""
    prose = re.sub(r"^ {4,}\S.*$", "", _FENCE.sub("", PAGES[page]), flags=re.MULTILINE)
    return [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", prose)]
