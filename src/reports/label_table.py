"""The labels of a run's training set as a table, the suspect ones flagged: as arrays, as CSV and as Parquet.

It needs the records of a run alone, be it finished or interrupted. Clean labels, where they are known, only judge.
"""

from __future__ import annotations

import dataclasses
import filecmp
import pathlib
import tempfile
from collections.abc import Mapping, Sequence

import numpy as np

from datasets.label_csv import decode_paths, write_csv
from errors import UserError
from gwa import LabelIssues, find_label_issues
from training.run.reader import load_array, read_derived, read_history, scores_file

NAME = "label_issues"


@dataclasses.dataclass(frozen=True)
class LabelTable:
    """One line per training sample, in the row order of `scores.npy`.

    Attributes:
      columns: by name, arrays `[N]`; `path` is empty where the images are no files. The order is that of the files.
      issues: what the columns were made from, with the threshold and its uncertainty.
      epochs: how many epochs there were.
      is_wrong: bool `[N]`, where the label is not the clean one; None where clean labels are not known.
      contradictions: positions of the same image under different labels, one array for each such image.
    """

    columns: Mapping[str, np.ndarray]
    issues: LabelIssues
    epochs: int
    is_wrong: np.ndarray | None
    contradictions: Sequence[np.ndarray] = ()

    def list_worst(self, count: int) -> np.ndarray:
        """The positions of the most suspect labels in the columns, worst first; samples never scored are left out."""
        order = np.argsort(self.issues.rank)[:count]
        return order[~np.isnan(self.issues.label_quality[order])]


def tabulate_label_issues(workdir: pathlib.Path, share: float | None = None) -> LabelTable:
    """Finds the label issues of the run in a work directory, from all of its finished epochs.

    `share` is that of `gwa.find_label_issues`.

    Raises:
      UserError: when a file that this needs is missing or damaged, or no epoch is finished.
    """
    if not workdir.is_dir():
        raise UserError(f"there is no folder {workdir}")
    epochs = len(read_history(workdir, interrupted=True))
    scores, predictions = (load_array(workdir, name) for name in (scores_file(), "predictions.npy"))
    if not 0 < epochs <= min(len(scores), len(predictions)):
        raise UserError(f"{workdir} holds {epochs} finished epochs, and scores of {len(scores)}; there must be some")
    arrays = load_array(workdir, "labels.npz")
    labels, names = arrays["labels"], arrays["class_names"].astype(object)
    try:
        issues = find_label_issues(scores[:epochs], labels, predictions[:epochs], share)
    except ValueError as error:
        raise UserError(f"{workdir}: {error}") from None
    paths = decode_paths(arrays["paths"]) if "paths" in arrays else [""] * len(labels)
    columns = {
        "is_label_issue": issues.is_label_issue,
        "label_quality": issues.label_quality,
        "given_label": labels,
        "predicted_label": issues.predicted_label,
        "rank": issues.rank,
        "row": arrays["rows"],
        "path": np.array(paths, object),
        "given_class": names[labels],
        "predicted_class": np.append(names, "")[issues.predicted_label],  # -1, for no prediction, is the last one
    }
    clean, config = arrays.get("clean_labels"), read_derived(workdir, "config.json") or {}
    contradictions = []
    if "checksums" in arrays and config.get("dataset", {}).get("feed") == "resident":  # of pixels, not of files' sizes
        contradictions = find_contradictions(labels, arrays["checksums"])
    return LabelTable(columns, issues, epochs, None if clean is None else labels != clean, contradictions)


def find_contradictions(labels: np.ndarray, checksums: np.ndarray) -> list[np.ndarray]:
    """The positions of images that occur under different labels, by their CRC-32 `[N]`; an array for each image.

    N images have N² / 2³³ pairs of equal checksums by chance: nothing is returned if there are fewer than ten times so
    many images.
    """
    order = np.argsort(checksums, kind="stable")
    groups = np.split(order, np.flatnonzero(np.diff(checksums[order])) + 1)
    found = [group for group in groups if len(group) > 1 and len(np.unique(labels[group])) > 1]
    return found if len(found) > 10 * len(labels) ** 2 / 2**33 else []


def write_label_issues(table: LabelTable, workdir: pathlib.Path) -> list[pathlib.Path]:
    """Writes `label_issues.csv` and `label_issues.parquet` into the work directory, and returns their paths.

    Raises:
      UserError: when the CSV file there has been edited, or is none of ours; then nothing is written.
    """
    import pyarrow.parquet

    files = [workdir / f"{NAME}.csv", workdir / f"{NAME}.parquet"]
    scratch = [file.with_name(f"{file.name}.tmp") for file in files]
    write_csv(scratch[0], table.columns)
    if files[0].exists() and not (filecmp.cmp(scratch[0], files[0], shallow=False) or _is_ours(*files)):
        scratch[0].unlink()
        raise UserError(f"{files[0]} has been edited since it was written; rename it, or delete it to have it anew")
    texts = {name: pyarrow.string() for name, column in table.columns.items() if column.dtype == object}
    columns = {name: pyarrow.array(column, type=texts.get(name)) for name, column in table.columns.items()}
    pyarrow.parquet.write_table(pyarrow.table(columns), scratch[1])
    for written, file in zip(scratch, files, strict=True):
        written.replace(file)
    return files


def _is_ours(csv: pathlib.Path, parquet: pathlib.Path) -> bool:
    """Whether the CSV file holds what the Parquet file beside it does."""
    import pyarrow
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.read_table(parquet)
    except (OSError, pyarrow.ArrowException):
        return False
    columns = {name: table[name].to_numpy(zero_copy_only=False) for name in table.column_names}
    with tempfile.TemporaryDirectory() as folder:
        copy = pathlib.Path(folder) / csv.name
        write_csv(copy, columns)
        return filecmp.cmp(copy, csv, shallow=False)


def describe_label_issues(table: LabelTable) -> list[str]:
    """The lines that a person reads: how many labels are suspect, by which criterion, how certain, and the worst."""
    issues = table.issues
    scored = int(np.sum(~np.isnan(issues.label_quality)))
    lines = [f"{issues.is_label_issue.sum()} of {scored} labels are suspect, after {table.epochs} epochs"]
    if scored < len(issues.rank):
        lines.append(f"  never scored: {len(issues.rank) - scored} samples")
    if np.isnan(issues.threshold) and issues.reason is None:
        lines.append(f"  criterion: the first {100 * issues.issue_share:.1f} % of the ranking, as you asked")
    elif issues.reason is None:
        share, error = 100 * issues.issue_share, 100 * issues.issue_share_error
        lines.append(f"  criterion: label_quality below {issues.threshold:.4f}, where two groups of labels meet")
        lines.append(f"  estimated share of wrong labels: {share:.1f} ± {error:.1f} % (standard error of the fit;")
        lines.append("  right labels of hard samples are counted too)")
    else:
        lines.append(f"  criterion: none is met, as {issues.reason}")
        lines.append("  estimated share of wrong labels: unknown; look at the labels in the order of their rank")
    if table.contradictions:
        first, second = (_name_sample(table.columns, i) for i in table.contradictions[0][:2].tolist())
        count = len(table.contradictions)
        lines.append(f"the same image under different labels (by checksums): {count}, such as {first} and {second}")
    return lines + _list_worst(table) + ([] if table.is_wrong is None else _judge(table, table.is_wrong))


def _list_worst(table: LabelTable) -> list[str]:
    """A heading, and a line for each of the ten most suspect labels."""
    columns, worst = table.columns, table.list_worst(10)
    lines = [f"the {len(worst)} most suspect labels (quality, sample, given class, predicted class):"]
    for i in worst.tolist():
        texts = (repr(text) for text in (columns["given_class"][i], columns["predicted_class"][i]))
        lines.append(f"  {columns['label_quality'][i]:.4f}  " + "  ".join((_name_sample(columns, i), *texts)))
    return lines


def _name_sample(columns: Mapping[str, np.ndarray], position: int) -> str:
    return repr(columns["path"][position] or f"row {columns['row'][position]}")


def _judge(table: LabelTable, wrong: np.ndarray) -> list[str]:
    """What the clean labels say, which nothing else here has seen."""
    flagged, ranks, total = table.issues.is_label_issue, table.issues.rank, int(wrong.sum())
    lines = [
        f"compared with the clean labels, which were not used above; by them {100 * wrong.mean():.1f} % are wrong:"
    ]
    if flagged.any():
        lines.append(f"  of the flagged labels, {100 * wrong[flagged].mean():.1f} % are wrong")
    if flagged.any() and total:
        lines.append(f"  of the wrong labels, {100 * flagged[wrong].mean():.1f} % are flagged")
    for count in (50, 500):
        if count < len(wrong):
            lines.append(f"  of the first {count}, {100 * wrong[table.list_worst(count)].mean():.1f} % are wrong")
    if 0 < total < len(wrong):
        before = (ranks[wrong].sum() - total * (total + 1) / 2) / (total * (len(wrong) - total))
        lines.append(f"  AUROC of the ranking: {100 * (1 - before):.1f} %")
    return lines
