"""Files of label issues, written by hand, not by the code that is tested."""

import csv

COLUMNS = ("is_label_issue", "label_quality", "given_label", "predicted_label", "rank", "row", "path")


def write_label_file(file, examples, flagged, suggested, names=None, **changes):
    """Lists all examples; `flagged` are positions, which are suggested the label `suggested`.

    `names` are the classes for the column given_class; `changes` replaces whole columns.
    """
    size, paths = len(examples), examples.paths
    columns = {
        "is_label_issue": [i in set(flagged) for i in range(size)],
        "label_quality": [0.5] * size,
        "given_label": examples.labels.tolist(),
        "predicted_label": [suggested] * size,
        "rank": list(range(1, size + 1)),
        "row": examples.rows.tolist(),
        "path": [""] * size if paths is None else [path.decode() for path in paths],
    }
    if names is not None:
        columns["given_class"] = [names[label] for label in columns["given_label"]]
    columns |= changes
    columns = {name: column for name, column in columns.items() if column is not None}
    with open(file, "w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
    return str(file)
