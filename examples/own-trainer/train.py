"""A trainer of one's own as a `command` stage: a bigram model in plain Python.

climb tells a command everything in environment variables, and in one JSON file ($CLIMB_TASK) for
those who would rather read that. It wants back a file or folder at each $CLIMB_OUTPUT_….

What comes in here is climb's own `packed` format (docs/artifacts.md): one stream of token ids a
cluster. What goes out is `scored`: a JSON with the mixture and its score, which `fit` can read.
"""

import array
import collections
import json
import math
import os
import random
from pathlib import Path


def stream(folder: Path, part: int, token_bytes: int) -> array.array:
    ids = array.array("H" if token_bytes == 2 else "I")
    ids.frombytes((folder / f"part-{part:03}.u{token_bytes * 8}").read_bytes())
    return ids


def main() -> None:
    tokens = Path(os.environ["CLIMB_INPUT_TOKENS"])
    targets = Path(os.environ["CLIMB_INPUT_TARGETS"])
    mixture = json.loads(Path(os.environ["CLIMB_INPUT_MIXTURE"]).read_text())
    budget = int(os.environ["CLIMB_PARAM_TOKENS"])
    smoothing = float(os.environ["CLIMB_PARAM_SMOOTHING"])

    meta = json.loads((tokens / "meta.json").read_text())
    rng = random.Random(int(os.environ["CLIMB_PARAM_SEED"]))
    pairs = collections.Counter()
    firsts = collections.Counter()
    for part, weight in enumerate(mixture["weights"]):
        ids = stream(tokens, part, meta["token_bytes"])
        wanted = int(weight * budget)
        while wanted > 1 and len(ids) > 1:
            length = min(wanted, 64, len(ids))
            start = rng.randrange(len(ids) - length + 1)
            window = ids[start : start + length]
            pairs.update(zip(window, window[1:]))
            firsts.update(window[:-1])
            wanted -= length

    vocab = meta["vocab_size"]
    target_meta = json.loads((targets / "meta.json").read_text())
    metrics = {}
    for part, target in enumerate(target_meta["parts"]):
        ids = stream(targets, part, target_meta["token_bytes"])
        loss = 0.0
        for a, b in zip(ids, ids[1:]):
            loss -= math.log((pairs[a, b] + smoothing) / (firsts[a] + smoothing * vocab))
        metrics[f"loss/{target['name']}"] = loss / max(1, len(ids) - 1)

    score = sum(metrics.values()) / len(metrics)
    print(f"score {score:.4f}")
    result = {
        "mixture": mixture,
        "score": score,
        "direction": "lower_is_better",
        "metrics": metrics,
    }
    Path(os.environ["CLIMB_OUTPUT_SCORED"]).write_text(json.dumps(result))


if __name__ == "__main__":
    main()
