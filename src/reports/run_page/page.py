"""Writes the page of a run."""

from __future__ import annotations

import pathlib

from datasets import Splits
from errors import UserError
from reports.label_table import tabulate_label_issues
from reports.run_page.curves import draw_history
from reports.run_page.distributions import draw_distributions
from reports.run_page.gallery import Gallery
from reports.run_page.pictures import open_pictures
from reports.run_page.provenance import describe_environment, describe_time, list_changes
from reports.run_page.recorded import read_recorded
from reports.run_page.rendering import write_html
from reports.run_page.suspects import judge_suspects, state_estimate, tabulate_classes
from reports.run_page.verdict import list_doubts, list_unchecked, state_choice
from training.run.reader import NOT_NUMBERS


def write_page(workdir: pathlib.Path, output: pathlib.Path | None = None, splits: Splits | None = None) -> pathlib.Path:
    """Writes the page of a run, finished or not, and returns its file.

    Args:
      workdir: of the run.
      output: the file; `report.html` in the work directory by default.
      splits: the data of the run if they are in memory; otherwise its config says where to read them.

    Raises:
      UserError: when there is no run, or no finished epoch, or a file of it is malformed.
      OSError: when the page cannot be written.
    """
    recorded = read_recorded(workdir)
    samples = recorded.samples
    try:
        table, missing_labels = tabulate_label_issues(workdir), None
    except UserError as error:
        table, missing_labels = None, f"The labels cannot be judged: {error}."
    issues = table.issues if table else None
    classes = [] if samples is None else tabulate_classes(recorded, samples, issues)
    pictures = open_pictures(recorded, splits)
    gallery = None
    if samples and samples.alignments is not None and table:
        gallery = Gallery(samples.alignments, table, pictures)
    distributions = draw_distributions(recorded)
    history = draw_history(recorded)
    path = output or workdir / "report.html"
    write_html(
        path,
        "run.html.j2",
        [*history, *([distributions] if distributions else [])],
        run=recorded.run,
        recorded=recorded,
        choice=state_choice(recorded),
        doubts=list_doubts(recorded, issues),
        unchecked=list_unchecked(recorded, issues),
        history=history,
        fields=[name for name in recorded.run.history[-1] if name not in NOT_NUMBERS and recorded.has_values(name)],
        distributions=distributions,
        estimate=state_estimate(issues) if issues else None,
        judgement=judge_suspects(table) if table else None,
        missing_labels=missing_labels,
        issues=issues,
        classes=classes,
        worst=gallery.show_worst() if gallery else [],
        class_groups=gallery.show_classes(classes) if gallery else [],
        epoch_groups=gallery.show_epochs() if gallery else [],
        missing_pictures=pictures.missing,
        changes=list_changes(recorded.run.config),
        environment=describe_environment(recorded),
        times=describe_time(recorded),
    )
    return path
