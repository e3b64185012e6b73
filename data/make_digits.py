"""Write digits.csv from the copy of the data set that scikit-learn bundles.

    python data/make_digits.py

Needs the extra ``data`` (scikit-learn); the file that it writes is in the repository.
"""

from __future__ import annotations

import csv
from pathlib import Path

from sklearn.datasets import load_digits


def main() -> None:
    digits = load_digits()
    with (Path(__file__).parent / "digits.csv").open("w", newline="", encoding="ascii") as file:
        writer = csv.writer(file, lineterminator="\n")
        pixels = [f"pixel_{row}_{column}" for row in range(8) for column in range(8)]
        writer.writerow([*pixels, "label"])
        for pixels, label in zip(digits.data.astype(int).tolist(), digits.target.tolist()):
            writer.writerow([*pixels, label])


if __name__ == "__main__":
    main()
