#!/usr/bin/env python3
"""Near-duplicates planted between training and held-out text: do they move the held-out loss?

    make build corpus
    python3 benches/leaks.py target/release/climb [--corpus .deps/corpus] [--tokens 600000] [--seeds 3]

From the quickstart's text are taken 400 documents for training and 100 READMEs to hold out. Of 30 % of
these, near-duplicates are planted among the training documents: a trailing newline, CRLF, upper case, a
line before it, or every fiftieth word another. A small proxy is trained without and with them, with
`decontaminate` as by default and off, and its loss is told on the held-out documents that have a copy
and on the others. Same tokenizer, same seeds.
"""

import argparse
import hashlib
import json
import re
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

TRAIN, HELD, PLANTED, CHARACTERS = 400, 100, 0.3, 2000

WORKFLOW = """
params: {files: [train.jsonl, held.jsonl], share: 0.7, tokens: 600000, seeds: 3}
stages:
  corpus:
    uses: corpus
    with:
      paths: "${params.files}"
      heldout: {name: held, match: [held.jsonl], fraction: 1}
      decontaminate: {share: "${params.share}"}
  plain: {uses: corpus, with: {paths: [train.jsonl], heldout: {fraction: 0}}}
  twinned:
    uses: corpus
    with: {paths: [twinned.jsonl, filler.jsonl], heldout: {name: twinned, match: [twinned.jsonl], fraction: 1}}
  others:
    uses: corpus
    with: {paths: [others.jsonl, filler.jsonl], heldout: {name: others, match: [others.jsonl], fraction: 1}}
  tokenizer: {uses: tokenizer, needs: {documents: plain.documents}, with: {vocab_size: 512}}
  tokenize: {uses: tokenize, needs: {documents: corpus.documents, tokenizer: tokenizer}}
  tokenize-twinned: {uses: tokenize, needs: {documents: twinned.heldout, tokenizer: tokenizer}}
  tokenize-others: {uses: tokenize, needs: {documents: others.heldout, tokenizer: tokenizer}}
  one-cluster:
    uses: command
    needs: {tokens: tokenize}
    with:
      inputs: {tokens: {type: tokens}}
      outputs: {clustering: clustering}
      scripts: [cluster.py]
      run: [python3, cluster.py, "{input.tokens}", "{output.clustering}"]
  pack:
    uses: pack
    needs: {tokens: tokenize, clustering: one-cluster.clustering, targets: [tokenize-twinned, tokenize-others]}
    with: {validation_fraction: 0}
  mixtures:
    uses: command
    with:
      outputs: {mixtures: {type: mixtures, items: mixture}}
      scripts: [mixtures.py]
      params: {seeds: "${params.seeds}"}
      run: [python3, mixtures.py, "{output.mixtures}", "{param.seeds}"]
  train:
    uses: train
    foreach: {mixture: mixtures.mixtures}
    needs: {tokens: pack.train}
    with: {model: nano, tokens: "${params.tokens}", batch: 4, learning_rate: 0.002}
  evaluate:
    uses: evaluate
    foreach: {model: train}
    needs: {targets: pack.targets}
"""

CLUSTER = """
import json, pathlib, struct, sys
tokens, to = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
n = json.loads((tokens / "meta.json").read_text())["documents"]
to.mkdir()
(to / "assignments.u32").write_bytes(bytes(4 * n))
(to / "centroids.f32").write_bytes(struct.pack("<f", 0.0))
meta = dict(clusters=1, dim=1, documents=n, sizes=[n], members=[[0]], inertia=0.0, iterations=0)
(to / "meta.json").write_text(json.dumps(meta))
"""

MIXTURES = """
import json, pathlib, sys
to = pathlib.Path(sys.argv[1])
to.mkdir()
for seed in range(int(sys.argv[2])):
    (to / f"{seed:06d}.json").write_text(json.dumps(dict(weights=[1.0], seed=seed + 1)))
"""


def documents(corpus, pattern, count, seen):
    """The beginnings of files, in an order that is nobody's choice; of files named alike in crates named
    alike but for the version, one."""
    files = sorted(corpus.glob(pattern), key=lambda path: hashlib.sha256(str(path.relative_to(corpus)).encode()).digest())
    texts = []
    for path in files:
        relative = path.relative_to(corpus)
        crate = re.sub(r"-\d.*", "", relative.parts[0])
        text = path.read_text(errors="ignore")[:CHARACTERS].strip()
        key = (crate, *relative.parts[1:])
        if len(text) < 800 or key in seen or len(texts) == count:
            continue
        seen.add(key)
        texts.append(text)
    return texts


def copy(text, which):
    if which == 4:
        words = text.split(" ")
        words[7::50] = ["another"] * len(words[7::50])
        return " ".join(words)
    return [text + "\n\n", text.replace("\n", "\r\n"), text.upper(), "Copied from elsewhere:\n\n" + text][which]


def write(path, texts):
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("climb", type=Path)
    arguments.add_argument("--corpus", type=Path, default=Path(".deps/corpus"))
    arguments.add_argument("--tokens", type=int, default=600_000)
    arguments.add_argument("--seeds", type=int, default=3)
    arguments = arguments.parse_args()
    binary = arguments.climb.resolve()
    seen = set()
    held = documents(arguments.corpus, "*/README.md", HELD, seen)
    train = documents(arguments.corpus, "**/*.md", TRAIN // 2, seen)
    train += documents(arguments.corpus, "**/*.rs", TRAIN - len(train), seen)
    twinned, others = held[: int(PLANTED * len(held))], held[int(PLANTED * len(held)) :]
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        (folder / "w.yaml").write_text(WORKFLOW)
        (folder / "cluster.py").write_text(CLUSTER)
        (folder / "mixtures.py").write_text(MIXTURES)
        plants = [copy(text, i % 5) for i, text in enumerate(twinned)]
        sets = {"train": train, "held": held, "twinned": twinned, "others": others, "plants": plants}
        for name, texts in {**sets, "filler": train[:1]}.items():
            write(folder / f"{name}.jsonl", texts)
        print(f"{len(train)} documents to train on, {len(held)} held out, copies of {len(twinned)} planted")
        print(f"{'':<28}{'dropped':>9}{'loss, with a copy':>20}{'loss, others':>16}")
        for what, files, share in [
            ("without copies", ["train", "held"], 0.7),
            ("copies, decontaminated", ["train", "held", "plants"], 0.7),
            ("without copies, share 0", ["train", "held"], 0),
            ("copies, share 0", ["train", "held", "plants"], 0),
        ]:
            files = ", ".join(f"{name}.jsonl" for name in files)
            settings = [f"files=[{files}]", f"share={share}", f"tokens={arguments.tokens}", f"seeds={arguments.seeds}"]
            sets = [word for setting in settings for word in ("--set", f"params.{setting}")]
            run = subprocess.run([binary, "run", "w.yaml", *sets], cwd=folder, capture_output=True, text=True)
            if run.returncode != 0:
                sys.exit(run.stderr[-3000:])
            losses = {"twinned": [], "others": []}
            subprocess.run([binary, "get", "corpus.documents", f"out-{what}"], cwd=folder, check=True, capture_output=True)
            counts = json.loads((folder / f"out-{what}" / "report.json").read_text())["counts"]
            for seed in range(arguments.seeds):
                to = f"scored-{what}-{seed}"
                subprocess.run([binary, "get", f"evaluate[{seed}].scored", to], cwd=folder, check=True, capture_output=True)
                metrics = json.loads((folder / to).read_text())["metrics"]
                for name, values in losses.items():
                    values.append(metrics[f"loss/{name}"])
            cells = [f"{statistics.mean(v):.4f} ±{statistics.stdev(v):.4f}" for v in losses.values()]
            print(f"{what:<28}{counts.get('near_heldout', 0):>9}{cells[0]:>20}{cells[1]:>18}", flush=True)


if __name__ == "__main__":
    main()
