"""What the peers predict with, what they draw mixtures from, and what they answer: each as published.

N: NVIDIA's released recipe (NVIDIA-NeMo/Curator, tutorials/text/nemotron-climb-data-curation,
steps 5 and 8). paper: arXiv 2504.13161, where it differs from N. RegMix: sail-sg/regmix (arXiv
2407.01492). Olmix: allenai/olmix (arXiv 2602.12237). Nothing is copied from them. Lower scores are
better throughout.
"""

import lightgbm
import numpy as np
from scipy.optimize import minimize

CANDIDATES = 100_000


# Predictors: (runs' weights, their figures) -> a function of weights.

def trees(x, y, held_out, patience, **settings):
    model = lightgbm.LGBMRegressor(
        n_estimators=1000, learning_rate=0.01, random_state=42, verbosity=-1, n_jobs=1, **settings)
    stop = lightgbm.early_stopping(stopping_rounds=patience, verbose=False)
    model.fit(x, y, eval_set=[held_out], eval_metric="l2", callbacks=[stop])
    return model.predict


def trees_of_n(x, y, patience=None):
    """Depth 4, 5 runs a leaf, L1 = L2 = 1; a tenth held out to stop on."""
    order = np.random.RandomState(42).permutation(len(x))
    train, held_out = np.split(order, [int(len(x) * 0.9)])
    patience = patience or min(20, len(held_out))
    return trees(x[train], y[train], (x[held_out], y[held_out]), patience,
                 reg_alpha=1.0, reg_lambda=1.0, max_depth=4, min_child_samples=5)


def trees_of_paper(x, y):
    """As N's, but it always waits 20 rounds for a better error."""
    return trees_of_n(x, y, patience=20)


def trees_of_regmix(x, y, held_out=None):
    """LightGBM's defaults otherwise: 20 runs a leaf. The notebook stops on the runs that it is tested on;
    where there are none, on its own."""
    return trees(x, y, held_out or (x, y), 3)


STARTS, STEPS, HUBER = 3, 100, 0.02


def law_of_olmix(x, y, task):
    """c and t of c + exp(t·w), by Huber's loss and L-BFGS. Not in all as published, which takes the best of 300
    starts by torch's L-BFGS in steps of a hundredth: these are 3 of its starts and 100 plain iterations. To go
    on to the minimum lets slopes of domains that few runs have grow without end."""
    rng = np.random.default_rng([42, task])

    def loss(at):
        offset, rest = np.exp(at[0]), np.exp(np.minimum(x @ at[1:], 50.0))
        off = offset + rest - y
        small = np.abs(off) <= HUBER
        value = np.where(small, off**2 / 2, HUBER * (np.abs(off) - HUBER / 2)).sum()
        slope = np.clip(off, -HUBER, HUBER)
        return value, np.concatenate([[slope.sum() * offset], x.T @ (slope * rest)])

    def fit(offset):
        slopes = rng.uniform(0, 0.1, x.shape[1])
        if task < len(slopes):
            slopes[task] = -rng.uniform()
        return minimize(loss, np.concatenate([[offset], slopes]), jac=True, method="L-BFGS-B",
                        options={"maxiter": STEPS, "maxcor": 10, "ftol": 1e-9, "gtol": 1e-7})

    best = min((fit(offset) for offset in np.linspace(-2.0, 1.5, STARTS)), key=lambda found: found.fun)
    return np.exp(best.x[0]), best.x[1:]


def predict_by_law(law, x):
    offset, slopes = law
    return offset + np.exp(np.minimum(x @ slopes, 50.0))


# Where mixtures are drawn from.

def swarm(rng, share, count, temperature, floor, most, draws):
    """RegMix's sampler: a Dirichlet round share^temperature of a strength of .1 to 5, without those that use a
    domain more than `most` times its share; what is below the floor is none; no mixture twice."""
    center = share**temperature / np.sum(share**temperature)
    strengths = rng.choice(np.logspace(-1, np.log10(5), 15), count * draws)
    drawn = np.array([rng.dirichlet(center * strength) for strength in strengths])
    drawn = drawn[(drawn <= np.minimum(share * most, 1.0)).all(axis=1)]
    drawn = np.where(drawn < floor, 0.0, drawn)
    drawn = np.round(drawn / drawn.sum(axis=1, keepdims=True) / floor).astype(int)
    drawn = np.unique(drawn, axis=0)
    if len(drawn) < count:
        raise ValueError(f"only {len(drawn)} of {count} mixtures are within {most} times the share")
    return normalised(rng.choice(drawn, count, replace=False))


def candidates(rng, share, count=CANDIDATES):
    return rng.dirichlet(np.maximum(share, 1e-12), count)


def normalised(mixtures):
    return mixtures / mixtures.sum(axis=1, keepdims=True)


# Recipes: what is to be trained next, and what is answered in the end.

class Iterating:
    """N and the paper: the score is one figure; the next are drawn from the best predicted candidates."""

    def __init__(self, first, fit):
        self.first, self.fit = first, fit

    def next(self, rng, seen, count):
        if len(seen.x) == 0:
            return self.first(rng, seen.share, count)
        drawn, worth = self.ranked(rng, seen)
        best = drawn[np.argsort(worth)[:max(count * count, 128)]]
        return self.written(best[rng.choice(len(best), count, replace=False)])

    def answer(self, rng, seen):
        drawn, worth = self.ranked(rng, seen)
        return self.written(drawn[[np.argmin(worth)]])[0]

    def ranked(self, rng, seen):
        drawn = candidates(rng, seen.share)
        return drawn, self.fit(seen.x, seen.score())(drawn)

    @staticmethod
    def written(mixtures):
        """Four digits of each weight reach the training."""
        return normalised(np.round(mixtures, 4))


class Regmix:
    def next(self, rng, seen, count):
        return swarm(rng, seen.share, count, temperature=0.5, floor=2e-4, most=15, draws=100)

    def answer(self, rng, seen):
        """The mean of the 128 best predicted."""
        drawn = candidates(rng, seen.share)
        models = [trees_of_regmix(seen.x, figures) for figures in seen.y.T]
        worth = sum(weight * model(drawn) for weight, model in zip(seen.weights, models))
        return drawn[np.argsort(worth)[:128]].mean(axis=0)


class Olmix:
    """A swarm of its own settings, a law for each metric, and the one minimum of their sum with .05 times the
    divergence from the shares. Its limit is so many repetitions of a domain in the final training; here there
    is none, so it is that of RegMix's sampler."""

    KL, MOST = 0.05, 15

    def next(self, rng, seen, count):
        return swarm(rng, seen.share, count, temperature=1.0, floor=2e-3, most=np.inf, draws=10)

    def answer(self, rng, seen):
        laws = [law_of_olmix(seen.x, figures, task) for task, figures in enumerate(seen.y.T)]
        slopes = np.array([slopes for _, slopes in laws])
        share = np.maximum(seen.share, 1e-12) / np.maximum(seen.share, 1e-12).sum()

        def objective(w):
            w = np.maximum(w, 1e-12)
            each = seen.weights * np.exp(np.minimum(slopes @ w, 50.0))
            ratio = np.log(w / share)
            return each.sum() + self.KL * (w @ ratio), slopes.T @ each + self.KL * (ratio + 1.0)

        most = np.maximum(np.minimum(share * self.MOST, 1.0), 1e-9)
        # Convex: one minimum.
        found = minimize(objective, share, jac=True, method="SLSQP", bounds=[(1e-9, m) for m in most],
                         constraints={"type": "eq", "fun": lambda w: w.sum() - 1.0, "jac": np.ones_like},
                         options={"maxiter": 1000, "ftol": 1e-10})
        if not np.isfinite(found.x).all() or abs(found.x.sum() - 1.0) > 1e-3:
            raise ValueError(f"Olmix's minimum was not found: {found.message}")
        return found.x / found.x.sum()


RECIPES = {
    "N": Iterating(
        lambda rng, share, count: swarm(rng, share, count, temperature=0.5, floor=2e-4, most=15, draws=100),
        trees_of_n),
    "paper": Iterating(candidates, trees_of_paper),
    "regmix (published)": Regmix(),
    "olmix": Olmix(),
}
