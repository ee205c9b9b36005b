"""Says which class the network of a finished run sees in pictures.

uv run scripts/predict.py runs/x pictures/*.png [--output=predictions.csv]
uv run scripts/predict.py runs/x pictures --rule=last --ema --damaged=skip

Prints path, class and probability of each picture. Of a folder, all pictures in it and in its subfolders are taken.
They are resized and cropped as the test images of the run were.
"""

import csv
import pathlib
import sys
from collections.abc import Sequence

import repository  # noqa: F401  (it puts our packages first on Python's path)

import command_line
from datasets.pictures import LeftOut
from errors import UserError
from evaluation.predict import Predictions, list_files, predict
from evaluation.trained import load_trained
from parallel import devices


def main() -> None:
    """Predicts, prints, and writes the table."""
    parser = command_line.Parser(__doc__)
    parser.add_argument("workdir", type=pathlib.Path)
    parser.add_argument("pictures", type=pathlib.Path, nargs="+", help="files or folders")
    parser.add_argument("--rule", help="whose checkpoint; the first rule of the run by default")
    parser.add_argument("--ema", action="store_true", help="the averaged parameters")
    parser.add_argument("--damaged", choices=("fail", "skip"), default="fail", help="what unreadable pictures do")
    parser.add_argument("--output", type=pathlib.Path, help="a CSV file with the columns path, class, probability")
    parser.add_argument("--probabilities", action="store_true", help="a further column there for each class")
    arguments = parser.parse_args()
    if arguments.output and not arguments.output.absolute().parent.is_dir():
        raise UserError(f"--output: there is no folder {arguments.output.parent}")
    if arguments.probabilities and not arguments.output:
        raise UserError("--probabilities adds columns to a file, but there is no --output")
    devices.enable_compilation_cache()
    network = load_trained(arguments.workdir, arguments.rule, arguments.ema)
    others = LeftOut()
    files = list_files(arguments.pictures, others)
    if arguments.output:
        command_line.check_output(arguments.output, files)
    predictions = predict(network, files, arguments.damaged == "skip")
    if others:
        print(f"no pictures: {others}", file=sys.stderr)
    for file, reason in predictions.skipped.items():
        print(f"left out: {file} ({reason})", file=sys.stderr)
    rows = list_rows(predictions, network.spec.class_names)
    if arguments.output:
        write_table(arguments.output, rows, predictions, network.spec.class_names if arguments.probabilities else ())
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for path, class_name, probability in rows:
        print(f"{path:{widths[0]}}  {class_name:{widths[1]}}  {float(probability):.4f}")


def list_rows(predictions: Predictions, class_names: Sequence[str]) -> list[tuple[str, str, str]]:
    """Path, class and probability of each picture."""
    chosen = predictions.probabilities.argmax(axis=1).tolist()
    return [
        (str(file), class_names[label], f"{probabilities[label]:.7g}")
        for file, label, probabilities in zip(predictions.files, chosen, predictions.probabilities, strict=True)
    ]


def write_table(
    output: pathlib.Path, rows: Sequence[Sequence[str]], predictions: Predictions, class_names: Sequence[str]
) -> None:
    """Writes the rows as CSV, with a further column `p(class)` for each of these classes."""
    with output.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "class", "probability", *(f"p({name})" for name in class_names)])
        for row, probabilities in zip(rows, predictions.probabilities.tolist(), strict=True):
            writer.writerow([*row, *(f"{p:.7g}" for p in probabilities[: len(class_names)])])


if __name__ == "__main__":
    command_line.run(main)
