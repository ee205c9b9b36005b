"""What cleanlab and pandas make of `label_issues.csv`, in an environment of their own.

Not a test by itself: cleanlab's Datalab imports Hugging Face's `datasets`, which must not find ours. Prints a line of
JSON per check.
"""

import json
import sys

import cleanlab
import numpy as np
import pandas as pd
from cleanlab.classification import CleanLearning
from cleanlab.rank import find_top_issues
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.linear_model import LogisticRegression


class Recorder(ClassifierMixin, BaseEstimator):
    """A classifier that remembers what it was trained on."""

    def fit(self, X, y):
        self.rows_ = X[:, 0].astype(int)
        self.classes_ = np.unique(y)
        return self

    def predict_proba(self, X):
        return np.full((len(X), len(self.classes_)), 1 / len(self.classes_))

    def predict(self, X):
        return np.full(len(X), self.classes_[0])


def main(folder):
    from cleanlab import Datalab

    table = pd.read_csv(f"{folder}/label_issues.csv")
    parquet = pd.read_parquet(f"{folder}/label_issues.parquet")
    exact = ("is_label_issue", "given_label", "predicted_label", "rank", "row", "given_class")
    same = all((table[name] == parquet[name]).all() for name in exact) and table["path"].fillna("").eq("").all()
    same &= np.allclose(table["label_quality"], parquet["label_quality"], rtol=1e-14, atol=0)
    types = {name: str(kind) for name, kind in table.dtypes.items()}
    print(json.dumps({"version": cleanlab.__version__, "same": bool(same), "types": types, "lines": len(table)}))

    worst = find_top_issues(table["label_quality"].to_numpy(), top=10)
    by_rank = table.sort_values("rank").index[:10]
    print(json.dumps({"worst": worst.tolist(), "by_rank": by_rank.tolist()}))

    rows, labels = np.arange(len(table))[:, None], table["given_label"].to_numpy()
    learning = CleanLearning(Recorder(), verbose=False)
    learning.fit(rows, labels, label_issues=table)
    print(json.dumps({"trained_on": learning.clf.rows_.tolist()}))

    features = np.eye(labels.max() + 1)[labels] + np.random.default_rng(0).normal(
        0, 0.1, (len(labels), labels.max() + 1)
    )
    probabilities = LogisticRegression().fit(features, labels).predict_proba(features)
    lab = Datalab({"label": table["given_class"].astype(str).tolist()}, label_name="label", verbosity=0)
    lab.find_issues(pred_probs=probabilities, issue_types={"label": {}})
    found = lab.get_issues("label")
    joined = found.join(table[["is_label_issue", "label_quality", "given_label", "predicted_label"]], rsuffix="_of_gwa")
    agree = (joined["given_label"].astype(str) == table["given_class"].astype(str)).all()
    shared = sorted(set(found.columns) & set(table.columns))
    print(json.dumps({"given_labels_agree": bool(agree), "shared_columns": shared}))


if __name__ == "__main__":
    main(sys.argv[1])
