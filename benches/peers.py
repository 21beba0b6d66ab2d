"""Other people's predictors and searches, for `climb-bench search --peers`.

    python3 -m venv .deps/bench
    .deps/bench/bin/pip install numpy scipy scikit-learn lightgbm matplotlib

Without --search: predictors on the draws of climb-bench, as JSON on stdout. Those of several metrics
are fitted to each of them, but for scikit-learn's Gaussian processes (a Matern-5/2 or an RBF, one
length or one for each weight, learned noise), which have RegMix's data and the score alone.
With --search: a line of JSON asks for the next mixtures or the answer of a recipe, a line replies.
"""

import argparse
import csv
import json
import sys
import warnings
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, Matern, WhiteKernel

import recipes

warnings.filterwarnings("ignore")


@dataclass
class Published:
    """As benches/src/search/published.rs has them."""

    x: np.ndarray
    y: np.ndarray
    targets: dict
    # The runs from here on are for tests; None: those that a draw leaves over.
    tests_from: int | None

    def split(self, size, number):
        count = self.tests_from or len(self.x)
        order = draw(count, number)
        rest = order[size:] if self.tests_from is None else range(count, len(self.x))
        return order[:size], list(rest)


def table(folder, part, what):
    """Names of the columns and the numbers, in the order of the runs' names."""
    path = sorted(Path(folder).glob(f"{part}*{what}*.csv"))[0]
    head, *rows = csv.reader(path.open())
    if "run" in head:
        rows.sort(key=lambda row: row[head.index("run")])
    numbers = [at for at, name in enumerate(head) if name not in ("", "index", "run", "name")]
    return [head[at] for at in numbers], np.array([[float(row[at]) for at in numbers] for row in rows])


def read(folder):
    parts = ["train", "test"] if list(Path(folder).glob("train*mixture*.csv")) else [""]
    kinds = ("mixture", "loss") if len(parts) == 2 else ("ratios", "metrics")
    x, y = (np.concatenate([table(folder, part, what)[1] for part in parts]) for what in kinds)
    names = table(folder, parts[0], kinds[1])[0]
    mean = np.full(len(names), 1 / len(names))
    if len(parts) == 2:
        pile_cc = np.array(["pile_cc" in name for name in names], dtype=float)
        targets, tests_from = {"Pile-CC": pile_cc, "mean": mean}, len(table(folder, "train", "loss")[1])
    else:
        family = [name.replace(":", "_").split("_")[0] for name in names]
        sizes = np.array([family.count(name) for name in family])
        targets, tests_from = {"tasks": mean, "families": 1 / len(set(family)) / sizes}, None
    return Published(x / x.sum(axis=1, keepdims=True), y, targets, tests_from)


def draw(rows, state):
    """The shuffle of benches/src/search/quality.rs."""
    order = list(range(rows))
    for i in range(rows - 1, 0, -1):
        state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
        j = (state >> 33) % (i + 1)
        order[i], order[j] = order[j], order[i]
    return order


def each(fit):
    """A prediction of each metric, summed up."""
    def predict(x, y, test, observed, targets):
        used = np.any(list(targets.values()), axis=0)
        columns = {m: fit(x, y[:, m], test, observed[:, m], m) for m in np.flatnonzero(used)}
        return {name: sum(weights[m] * columns[m] for m in np.flatnonzero(weights))
                for name, weights in targets.items()}
    return predict


def gp(kernel):
    def predict(x, y, test, _, targets):
        full = ConstantKernel() * kernel(x.shape[1]) + WhiteKernel()
        fitted = lambda score: GaussianProcessRegressor(full, normalize_y=True).fit(x, score).predict(test)
        return {name: fitted(y @ weights) for name, weights in targets.items()}
    return predict


PEERS = {
    "lightgbm (N)": each(lambda x, y, test, seen, m: recipes.trees_of_n(x, y)(test)),
    "lightgbm (RegMix)": each(lambda x, y, test, seen, m: recipes.trees_of_regmix(x, y, (test, seen))(test)),
    "law (Olmix)": each(
        lambda x, y, test, seen, m: recipes.predict_by_law(recipes.law_of_olmix(x, y, int(m)), test)),
    "sklearn gp, Matern": gp(lambda d: Matern(1.0, nu=2.5)),
    "sklearn gp, Matern ARD": gp(lambda d: Matern(np.ones(d), nu=2.5)),
    "sklearn gp, RBF": gp(lambda d: RBF(1.0)),
}


def cell(data, name, size, number):
    """By target, Spearman and R2 of one predictor on one draw."""
    train, rest = data.split(size, number)
    args = (data.x[train], data.y[train], data.x[rest], data.y[rest], data.targets)
    predicted, found = PEERS[name](*args), {}
    for target, weights in data.targets.items():
        observed, guess = data.y[rest] @ weights, predicted[target]
        rank = spearmanr(guess, observed)[0] if np.ptp(guess) > 0 else 0.0
        off = ((guess - observed) ** 2).sum() / ((observed - observed.mean()) ** 2).sum()
        found[target] = (rank, 1 - off)
    return found


def quality(args):
    data = read(args.data)
    if args.target:
        data.targets = {name: w for name, w in data.targets.items() if name in args.target}
    names = [name for name in args.predictor or PEERS if data.tests_from or not name.startswith("sklearn")]
    most, lines = data.tests_from or len(data.x) - 1, []
    with ProcessPoolExecutor(args.jobs) as pool:
        for name, size in product(names, map(int, args.sizes.split(","))):
            draws = range(1 if size >= most else args.draws)
            measured = list(pool.map(cell, *zip(*((data, name, size, number) for number in draws))))
            for target in data.targets:
                rank, r2 = np.mean([found[target] for found in measured], axis=0)
                lines.append({"predictor": name, "target": target, "runs": size,
                              "spearman": rank, "r2": r2, "coverage90": None})
                print(f"{name}, {target}, {size} runs: {rank:.3f} {r2:.3f}", file=sys.stderr)
    json.dump(lines, sys.stdout)


@dataclass
class Seen:
    """What a search knows: shares of the domains, and of each run its weights and metrics."""

    share: np.ndarray
    weights: np.ndarray
    x: np.ndarray
    y: np.ndarray

    def score(self):
        return self.y @ self.weights


def reply(question):
    seen = Seen(
        share=np.array(question["shares"]), weights=np.array(question["importance"]),
        x=np.array([run["mixture"] for run in question["runs"]]),
        y=np.array([run["metrics"] for run in question["runs"]]))
    recipe, count = recipes.RECIPES[question["recipe"]], question["count"]
    rng = np.random.default_rng([question["seed"], len(seen.x)])
    if count is None:
        return {"mixtures": [recipe.answer(rng, seen).tolist()]}
    return {"mixtures": recipe.next(rng, seen, count).tolist()}


def search():
    for line in sys.stdin:
        try:
            said = reply(json.loads(line))
        except Exception as error:  # The measurement ends with its text.
            said = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(said), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--search", action="store_true")
    parser.add_argument("--data")
    parser.add_argument("--target", action="append")
    parser.add_argument("--predictor", action="append", choices=PEERS, help="only this; repeatable")
    parser.add_argument("--sizes", default="32,64,112,256,512")
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("--jobs", type=int, default=2)
    args = parser.parse_args()
    if args.search:
        search()
    elif args.data:
        quality(args)
    else:
        parser.error("--data or --search is needed")


if __name__ == "__main__":
    main()
