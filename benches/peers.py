"""Other libraries' predictors on the draws of `climb-bench search`, as JSON on stdout.

    python3 -m venv .deps/bench
    .deps/bench/bin/pip install numpy scipy scikit-learn lightgbm matplotlib

LightGBM has RegMix's published settings (its regression notebook: 1000 rounds at most, learning
rate 0.01, early stopping after 3 rounds without a better l2 on the held-out runs, which favours it).
scikit-learn's Gaussian processes have a Matern-5/2 or an RBF, one length or one for each weight,
and learned noise.
"""

import argparse
import csv
import json
import sys
import warnings
from pathlib import Path

import lightgbm
import numpy as np
from scipy.stats import spearmanr
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, Matern, WhiteKernel

warnings.filterwarnings("ignore")


def table(folder, part, what):
    path = sorted(Path(folder).glob(f"{part}*{what}*.csv"))[0]
    rows = list(csv.reader(path.open()))
    return rows[0][1:], np.array([[float(x) for x in row[1:]] for row in rows[1:]])


def draw(rows, count, state):
    """The shuffle of benches/src/search/quality.rs."""
    order = list(range(rows))
    for i in range(rows - 1, 0, -1):
        state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
        j = (state >> 33) % (i + 1)
        order[i], order[j] = order[j], order[i]
    return order[:count]


def lightgbm_regmix(x, y, test, observed):
    model = lightgbm.LGBMRegressor(
        boosting_type="gbdt", objective="regression", metric=["l1", "l2"], n_estimators=1000,
        random_state=42, learning_rate=1e-2, verbosity=-1, n_jobs=1,
    )
    stop = lightgbm.early_stopping(stopping_rounds=3, verbose=False)
    model.fit(x, y, eval_set=[(test, observed)], eval_metric="l2", callbacks=[stop])
    return model.predict(test)


def gp(kernel):
    def predict(x, y, test, _):
        full = ConstantKernel() * kernel(x.shape[1]) + WhiteKernel()
        return GaussianProcessRegressor(full, normalize_y=True).fit(x, y).predict(test)
    return predict


PEERS = {
    "lightgbm (RegMix)": lightgbm_regmix,
    "sklearn gp, Matern": gp(lambda d: Matern(1.0, nu=2.5)),
    "sklearn gp, Matern ARD": gp(lambda d: Matern(np.ones(d), nu=2.5)),
    "sklearn gp, RBF": gp(lambda d: RBF(1.0)),
}


def measure(predict, x, y, test, observed):
    predicted = predict(x, y, test, observed)
    rank = spearmanr(predicted, observed)[0] if np.ptp(predicted) > 0 else 0.0
    off = ((predicted - observed) ** 2).sum() / ((observed - observed.mean()) ** 2).sum()
    return rank, 1 - off


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True)
    parser.add_argument("--sizes", default="32,64,112,256,512")
    parser.add_argument("--draws", type=int, default=10)
    args = parser.parse_args()
    x, test = (table(args.data, part, "mixture")[1] for part in ("train", "test"))
    x, test = (m / m.sum(axis=1, keepdims=True) for m in (x, test))
    names, losses = table(args.data, "train", "loss")
    _, test_losses = table(args.data, "test", "loss")
    pile_cc = next(i for i, name in enumerate(names) if "pile_cc" in name)
    targets = {
        "Pile-CC": (losses[:, pile_cc], test_losses[:, pile_cc]),
        "mean": (losses.mean(axis=1), test_losses.mean(axis=1)),
    }
    lines = []
    for target, (y, observed) in targets.items():
        for runs in map(int, args.sizes.split(",")):
            draws = 1 if runs >= len(x) else args.draws
            for name, predict in PEERS.items():
                rows = [draw(len(x), runs, n) for n in range(draws)]
                got = np.mean([measure(predict, x[r], y[r], test, observed) for r in rows], axis=0)
                lines.append({"predictor": name, "target": target, "runs": runs,
                              "spearman": got[0], "r2": got[1], "coverage90": None})
                print(f"{name}, {target}, {runs} runs: {got[0]:.3f} {got[1]:.3f}", file=sys.stderr)
    json.dump(lines, sys.stdout)


if __name__ == "__main__":
    main()
