"""Tables as Markdown, CSV and LaTeX."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence

from reports.layout import Cell, Table

MINUS, DASH = "−", "–"


def to_markdown(tables: Sequence[Table]) -> str:
    """One section of a page per table: heading, paragraph, table, numbered footnotes."""
    return "\n".join(_make_section(table) for table in tables)


def _make_section(table: Table) -> str:
    notes = _number_footnotes(table)
    lines = [f"## {table.title}", "", table.text, ""]
    lines += [f"| {' | '.join(table.columns)} |", "|" + "---|" * len(table.columns)]
    for row in table.rows:
        entries = [_format_entry(entry, table, notes, "<sup>{}</sup>") for entry in row]
        lines.append(f"| {' | '.join(entries)} |")
    if notes:
        lines += ["", *(f"{number}. {note}" for note, number in notes.items())]
    if table.after:
        lines += ["", *table.after]
    return "\n".join(lines) + "\n"


def to_latex(tables: Sequence[Table]) -> str:
    """One `table` environment per table, with a plain `tabular`; needs no package."""
    return "\n".join(_make_environment(table) for table in tables)


def _make_environment(table: Table) -> str:
    notes = _number_footnotes(table)
    alignment = "l" * table.labels + "r" * (len(table.columns) - table.labels)
    lines = [
        r"\begin{table}",
        rf"  \caption{{{_escape(table.title)}. {_escape(table.text)}}}",
        rf"  \begin{{tabular}}{{{alignment}}}",
        r"    \hline",
        f"    {' & '.join(map(_escape, table.columns))} \\\\",
        r"    \hline",
    ]
    for row in table.rows:
        entries = [_escape(_format_entry(entry, table, notes, "^{}^")) for entry in row]
        lines.append(f"    {' & '.join(entries)} \\\\")
    lines += [r"    \hline", r"  \end{tabular}"]
    lines += [rf"  \par\footnotesize $^{{{number}}}$ {_escape(note)}" for note, number in notes.items()]
    return "\n".join([*lines, r"\end{table}"]) + "\n"


def to_csv(tables: Sequence[Table]) -> str:
    """One line per cell of all tables, as numbers; a field without a value is empty."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    fields = ("mean", "standard_deviation", "standard_error", "n", "paper", "paper_source", "difference")
    writer.writerow(("table", "title", "row", "column", *fields, "text", "note"))
    for table in tables:
        for row in table.rows:
            label = ", ".join(str(entry).replace("`", "") for entry in row[: table.labels])
            for column, entry in zip(table.columns[table.labels :], row[table.labels :], strict=True):
                writer.writerow((table.name, table.title, label, column, *_list_numbers(entry)))
    return file.getvalue()


def _list_numbers(entry: str | Cell) -> tuple[str | int | float | None, ...]:
    if isinstance(entry, str):
        return (*(None,) * 7, entry, None)
    ours, paper = entry.ours, entry.paper
    measured = (ours.mean, ours.deviation, ours.error, ours.n) if ours else (None,) * 4
    published = (paper.value, paper.source) if paper else (None, None)
    difference = None if entry.difference is None else round(entry.difference, 10)
    return (*measured, *published, difference, None, entry.note.replace("`", ""))


def _number_footnotes(table: Table) -> dict[str, int]:
    """The notes of a table in the order in which they occur, numbered from 1."""
    notes: dict[str, int] = {}
    for row in table.rows:
        for entry in row:
            if isinstance(entry, Cell) and entry.note:
                notes.setdefault(entry.note, len(notes) + 1)
    return notes


def _format_entry(cell: str | Cell, table: Table, notes: dict[str, int], mark: str) -> str:
    """`81.20 ± 0.30 (3) [81.57, −0.37]`: ours, its spread and number of runs, and the paper's with the difference."""
    if isinstance(cell, str):
        return cell
    number, digits = mark.format(notes[cell.note]) if cell.note else "", table.decimals
    if cell.ours is None:
        published = f"[{_format_number(cell.paper.value, digits)}]" if cell.paper else ""
        return f"{DASH}{number} {published}".strip() if number or not published else published
    spread = cell.ours.error if table.standard_errors else cell.ours.deviation
    plus_minus = "" if spread is None else f" ± {spread:.{digits}f}"
    text = f"{_format_number(cell.ours.mean, digits)}{plus_minus} ({cell.ours.n}){number}"
    if cell.paper and cell.difference is not None:
        plus = "+" if cell.difference >= 0 else ""
        text += f" [{_format_number(cell.paper.value, digits)}, {plus}{_format_number(cell.difference, digits)}]"
    return text


def _format_number(value: float, digits: int) -> str:
    return f"{round(value, digits) + 0.0:.{digits}f}".replace("-", MINUS)


_LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "±": r"$\pm$",
    "×": r"$\times$",
    "≥": r"$\geq$",
    MINUS: "$-$",
    DASH: "--",
}


def _escape(text: str) -> str:
    """Text for LaTeX: `code` in typewriter letters, footnote numbers raised."""
    escaped = "".join(_LATEX.get(letter, letter) for letter in text)
    return re.sub(r"\^(\d+)\^", r"$^{\1}$", re.sub(r"`([^`]*)`", r"\\texttt{\1}", escaped))
