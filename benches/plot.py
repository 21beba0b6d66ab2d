"""Plots of `climb-bench search --json FILE`, for docs/search.md.

    .deps/bench/bin/python benches/plot.py search.json docs/img

Writes regret.png (regret against the budget, with 95 % intervals) and predicted.png (predicted
against observed losses of the held-out runs). Several files are put together, so that the parts
may be measured one by one.
"""

import json
import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

SHOWN = ["climb", "climb, top", "climb, ensemble", "climb, trees", "regmix", "regmix, gp", "random"]


def together(paths):
    everything = {"predicted": [], "regret": []}
    for path in paths:
        figures = json.loads(Path(path).read_text())
        for part in everything:
            everything[part] += figures.get(part, [])
    return everything


def regret(lines, path):
    simulators = list(dict.fromkeys(line["simulator"] for line in lines))
    figure, axes = plt.subplots(
        1, len(simulators), figsize=(3.8 * len(simulators) + 1.4, 3.6), sharey=True, squeeze=False)
    for ax, simulator in zip(axes[0], simulators):
        for at, strategy in enumerate(SHOWN):
            of_it = [x for x in lines if (x["simulator"], x["strategy"]) == (simulator, strategy)]
            if not of_it:
                continue
            of_it.sort(key=lambda x: x["budget"])
            ax.errorbar(
                # Side by side, so that the intervals can be told apart.
                [x["budget"] * 1.015 ** (at - 2.5) for x in of_it], [x["regret"] for x in of_it],
                [x["interval"] for x in of_it], marker="o", markersize=4, capsize=3, label=strategy,
                linewidth=2.2 if strategy == "climb" else 1.2)
        budgets = sorted({x["budget"] for x in lines})
        ax.set_xscale("log")
        ax.set_xticks(budgets, [str(b) for b in budgets])
        ax.minorticks_off()
        ax.set_title(f"simulator {simulator}")
        ax.set_xlabel("proxy runs")
        ax.grid(alpha=0.3)
    # After all are drawn: they share the axis.
    axes[0][0].set_ylim(bottom=0)
    axes[0][0].set_ylabel("regret, nats")
    axes[0][-1].legend(fontsize=8, loc="upper left", bbox_to_anchor=(1.01, 1))
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def predicted(targets, path):
    figure, axes = plt.subplots(
        1, len(targets), figsize=(4 * len(targets), 3.8), squeeze=False)
    for ax, target in zip(axes[0], targets):
        x, y = target["predicted"], target["observed"]
        ends = [min(x + y), max(x + y)]
        ax.plot(ends, ends, color="grey", linewidth=1)
        ax.errorbar(x, y, xerr=target["spread"], fmt=".", markersize=4, elinewidth=0.5)
        ax.set_title(f"{target['target']}, after 112 runs")
        ax.set_xlabel("predicted loss, nats")
        ax.grid(alpha=0.3)
    axes[0][0].set_ylabel("observed loss, nats")
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def main():
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    *files, folder = sys.argv[1:]
    Path(folder).mkdir(parents=True, exist_ok=True)
    figures = together(files)
    if figures["regret"]:
        regret(figures["regret"], Path(folder) / "regret.png")
    if figures["predicted"]:
        predicted(figures["predicted"], Path(folder) / "predicted.png")


if __name__ == "__main__":
    main()
