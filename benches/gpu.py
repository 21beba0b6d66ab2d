#!/usr/bin/env python3
"""What of climb computes on a GPU, checked and timed on one: parity with the CPU, the same bytes twice,
kills, odd settings, speed beside plain PyTorch.

    python3 benches/gpu.py target/release/climb                     # on a machine with a GPU
    python3 benches/gpu.py climb --torch …/site-packages/torch      # a CPU build, on a PyTorch with CUDA
    python3 benches/gpu.py climb --gpus 0 --quick                   # dry run, without a GPU
    python3 benches/gpu.py climb --old another/climb                # beside another build of climb

Every step is by itself: one that fails or takes too long is told of, and the next begins. `--steps a,b`
runs some. The last lines printed are the tables; all output goes to $OUT/log.txt ($OUT: else ./gpu-out).
The corpus is this repository. Python needs torch, safetensors and tokenizers, climb needs none of them.
"""
import argparse, contextlib, glob, hashlib, json, os, re, shutil, signal, subprocess, sys, tempfile
import threading, time, traceback
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
OUT = os.environ.get("OUT") or os.path.abspath("gpu-out")
# vocabulary 8192; (batch, context, steps in bf16, steps in f32)
SPEED = {"nano": (16, 128, 1500, 1500), "20M": (32, 1024, 80, 30), "62M": (16, 2048, 50, 20), "350M": (8, 2048, 25, 12)}
SHAPES = {"nano": (2, 80, 2), "20M": (6, 512, 8), "62M": (12, 640, 10), "350M": (27, 1024, 16)}

# ---------------------------------------------------------------- workflows

FRONT = """
  corpus:
    uses: corpus
    with:
      paths: ["{here}/{{stages,engine,cache,cli,docs,tests}}/**/*.{{rs,md}}", "{here}/*.md"]
      chunk_chars: 1200
      max_documents: {docs}
      heldout: {{name: docs, match: ["**/*.md"], fraction: 0.4, max_documents: 100}}
  tokenizer: {{uses: tokenizer, needs: {{documents: corpus.documents}}, with: {{vocab_size: {vocab}}}}}
  tokenize: {{uses: tokenize, needs: {{documents: corpus.documents, tokenizer: tokenizer}}}}
  tokenize-target: {{uses: tokenize, needs: {{documents: corpus.heldout, tokenizer: tokenizer}}}}
"""
EMBED = """
  embed: {{uses: embed, needs: {{documents: corpus.documents}}, with: {{model: "{encoder}"}}, resources: {{gpus: {g_embed}}}}}
"""
CLUSTER = """
  cluster: {{uses: kmeans, needs: {{embeddings: embed}}, with: {{k: 24}}, resources: {{gpus: {g_cluster}}}}}
  merge:
    uses: merge
    needs: {{clustering: cluster, documents: corpus.documents, embeddings: embed, tokens: tokenize}}
    with: {{to: 6}}
  pack:
    uses: pack
    needs: {{tokens: tokenize, clustering: merge, targets: tokenize-target}}
    with: {{validation_tokens: 2048}}
"""
TRAIN = """
  natural: {{uses: mixture, needs: {{clusters: merge}}}}
  f32: {{uses: train, needs: {{mixture: natural, tokens: pack.train}}, with: {{<<: *t, precision: f32}}}}
  bf16: {{uses: train, needs: {{mixture: natural, tokens: pack.train}}, with: {{<<: *t, precision: bf16}}}}
  auto: {{uses: train, needs: {{mixture: natural, tokens: pack.train}}, with: {{<<: *t, seed: 2}}}}
  cut: {{uses: train, needs: {{mixture: natural, tokens: pack.train}}, with: {{<<: *t, precision: f32, segment_tokens: 20000}}}}
  cut-bf16: {{uses: train, needs: {{mixture: natural, tokens: pack.train}}, with: {{<<: *t, precision: bf16, segment_tokens: 20000}}}}
  wide: {{uses: train, needs: {{mixture: natural, tokens: pack.train}}, with: {{<<: *w, precision: f32}}}}
  wide-bf16: {{uses: train, needs: {{mixture: natural, tokens: pack.train}}, with: {{<<: *w, precision: bf16}}}}
  doremi: {{uses: doremi, needs: {{reference: f32, tokens: pack.train}}, with: {{train: {{<<: *t, precision: f32}}}}}}
  eval-f32: {{uses: evaluate, needs: {{model: f32, targets: pack.targets, validation: pack.validation}}}}
  eval-bf16: {{uses: evaluate, needs: {{model: bf16, targets: pack.targets, validation: pack.validation}}}}
"""
SEARCH = """
  search:
    repeat:
      over: [4, 2]
      as: runs
      stages:
        sample: {{uses: sample, needs: {{clusters: merge, predictor: previous.fit, scored: all.evaluate}}, with: {{count: "${{runs}}"}}}}
        train: {{uses: train, foreach: {{mixture: sample}}, needs: {{tokens: pack.train}}, with: {{<<: *t}}}}
        evaluate: {{uses: evaluate, foreach: {{model: train}}, needs: {{targets: pack.targets, validation: pack.validation}}}}
        fit: {{uses: fit, needs: {{scored: all.evaluate}}}}
  select: {{uses: select, needs: {{predictor: search.fit, clusters: merge, scored: search.all.evaluate, predictions: search.sample}}}}
"""
HEAD = """x-t: &t {{model: nano, tokens: {tokens}, batch: 8, learning_rate: 0.006, warmup_tokens: 5000}}
x-w: &w {{model: {wide}, tokens: {wide_tokens}, batch: 8, context: 256, learning_rate: 0.001, warmup_tokens: 5000}}
stages:"""

class Bench:
    def __init__(self, args):
        self.a, self.rows = args, []
        self.tmp = tempfile.mkdtemp(prefix="climb-gpu-", dir=os.environ.get("TMPDIR", "/tmp"))
        os.makedirs(OUT, exist_ok=True)
        self.logfile = open(os.path.join(OUT, "log.txt"), "a", buffering=1)
        self.lock, self.began = threading.Lock(), time.time()
        self.env = dict(os.environ)
        if args.torch:
            lib = os.path.join(args.torch, "lib")
            folders = [lib] + ([os.path.abspath(args.xgboost)] if args.xgboost else [])
            self.env["LD_LIBRARY_PATH"], self.env["LIBTORCH"] = ":".join(folders), args.torch
            self.preload = os.path.join(lib, "libtorch_cuda.so")
        else:
            self.preload = None

    def path(self, *parts):
        return os.path.join(self.tmp, *parts)

    def log(self, text):
        with self.lock:
            self.logfile.write(text.rstrip("\n") + "\n")

    def row(self, step, *columns):
        line = f"{step}: " + " | ".join(str(c) for c in columns)
        with self.lock:
            self.rows.append(line)
            with open(os.path.join(OUT, "rows.txt"), "a") as file:
                file.write(line + "\n")
        print(f"[{time.time() - self.began:5.0f}s] {line}", flush=True)
        self.log("## " + line)

    def climb(self, *args, timeout=120, env=None, binary=None, interrupt_after=None, cwd=None):
        """Runs climb; returns its exit code, stdout, stderr and seconds."""
        full = dict(self.env)
        # Builds before it could load CUDA's half itself.
        if self.preload and binary and binary == self.a.old:
            full["LD_PRELOAD"] = self.preload
        for key, value in (env or {}).items():
            full.pop(key, None) if value is None else full.__setitem__(key, value)
        command = [os.path.abspath(binary or self.a.climb), *map(str, args)]
        began = time.time()
        process = subprocess.Popen(command, env=full, cwd=cwd or self.tmp, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                   text=True, start_new_session=True)
        code = None
        try:
            if interrupt_after:
                try:
                    out, err = process.communicate(timeout=interrupt_after)
                except subprocess.TimeoutExpired:
                    process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=timeout)
            code = process.returncode
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            out, err = process.communicate()
            code = "timeout"
        seconds = time.time() - began
        short = "\n".join(l for l in out.splitlines() if '"task_reported"' not in l)
        self.log(f"$ climb {' '.join(map(str, args))} {env or ''}\n-> {code} in {seconds:.1f} s\n{short[-3000:]}\n{err[-3000:]}")
        return code, out, err, seconds

    def workflow(self, name, *parts, vocab=512, g_embed=0, g_cluster=0, tokens=None, wide_tokens=None, wide=None):
        quick = self.a.quick
        text = (HEAD + "".join(parts)).format(
            here=HERE, docs=400 if quick else 2500, vocab=vocab, encoder=self.path("encoder"), g_embed=g_embed, g_cluster=g_cluster,
            tokens=tokens or (40000 if quick else 120000), wide=wide or ("nano" if quick else "1M"), wide_tokens=wide_tokens or (20000 if quick else 200000))
        path = self.path(name + ".yaml")
        with open(path, "w") as file:
            file.write(text)
        return path

    def run(self, workflow, cache, gpus, **more):
        return self.climb("run", workflow, "--cache", self.path(cache), "--gpus", gpus, **more)

    def clone(self, source, *names):
        for name in names:
            shutil.rmtree(self.path(name), ignore_errors=True)
            shutil.rmtree(self.path("got", name), ignore_errors=True)
            shutil.copytree(self.path(source), self.path(name), symlinks=True)

    def get(self, cache, output):
        """The path of a copy of an output."""
        to = self.path("got", cache, re.sub(r"\W", "_", output))
        if not os.path.exists(to):
            os.makedirs(os.path.dirname(to), exist_ok=True)
            code, _, err, _ = self.climb("get", output, to, "--cache", self.path(cache))
            if code != 0:
                raise RuntimeError(f"no {output} in {cache}: {err[-300:]}")
        return to

    def digest(self, cache, output):
        path, sha = self.get(cache, output), hashlib.sha256()
        files = sorted(glob.glob(path + "/**", recursive=True)) if os.path.isdir(path) else [path]
        for file in files:
            if os.path.isfile(file):
                sha.update(os.path.relpath(file, path).encode() + open(file, "rb").read())
        return sha.hexdigest()[:12]

# ---------------------------------------------------------------- reading artifacts

def floats(path):
    import numpy
    return numpy.fromfile(path, dtype="<f4")

def tensors(folder):
    from safetensors.numpy import load_file
    return load_file(os.path.join(folder, "model.safetensors"))

def curve(path):
    file = path if os.path.isfile(path) else os.path.join(path, "curve.csv")
    lines = open(file).read().split()[1:]
    return [float(line.split(",")[3]) for line in lines]

def metrics(path):
    return json.load(open(path))["metrics"]

# ---------------------------------------------------------------- steps

def info(b):
    smi = subprocess.run(["nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"],
                         capture_output=True, text=True) if shutil.which("nvidia-smi") else None
    b.row("info", "card", smi.stdout.strip() if smi else "none", "cpus", os.cpu_count())
    for name, binary in [("new", b.a.climb), ("old", b.a.old)]:
        if binary:
            code, out, err, seconds = b.climb("--version", binary=binary)
            b.row("info", name, out.strip(), f"rc {code}", f"starts in {seconds:.2f} s", err[-200:])

def encoder(b):
    code = subprocess.run([sys.executable, __file__, "make-encoder", b.path("encoder"), "--quick" if b.a.quick else "--full"],
                          capture_output=True, text=True, timeout=120)
    b.log(code.stdout + code.stderr)
    b.row("encoder", "rc", code.returncode, code.stderr[-200:] if code.returncode else "random BERT of MiniLM's shape")

def front(b):
    g = b.a.gpus
    base = b.workflow("base", FRONT)
    code, _, err, seconds = b.run(base, "B", 0)
    b.row("front", "corpus, tokenizer, tokenize", f"rc {code}", f"{seconds:.1f} s", err[-200:] if code else "")
    b.clone("B", "P", "E1", "E2", "S0", "S1")
    on_cpu, on_gpu = b.workflow("embed-cpu", FRONT, EMBED), b.workflow("embed-gpu", FRONT, EMBED, g_embed=g)
    with ThreadPoolExecutor() as pool:
        jobs = {c: pool.submit(b.run, w, c, n, timeout=150) for c, w, n in [("P", on_cpu, 0), ("E1", on_gpu, g), ("E2", on_gpu, g)]}
    for cache, job in jobs.items():
        code, _, err, seconds = job.result()
        b.row("embed", cache, f"rc {code}", f"{seconds:.1f} s", err[-300:] if code else "")
    b.row("embed", "twice the same bytes", b.digest("E1", "embed") == b.digest("E2", "embed"), "as the CPU's", b.digest("P", "embed") == b.digest("E1", "embed"))
    import numpy
    file = next(f for f in os.listdir(b.get("P", "embed")) if not f.endswith(".json"))
    meta = json.load(open(glob.glob(b.get("P", "embed") + "/*.json")[0]))
    x, y = (floats(os.path.join(b.get(c, "embed"), file)).reshape(meta["rows"], meta["cols"]) for c in ("P", "E1"))
    cos = (x * y).sum(1) / numpy.sqrt((x * x).sum(1) * (y * y).sum(1))
    mean = x.mean(0)
    xc, yc = x - mean, y - mean
    centred = (xc * yc).sum(1) / numpy.sqrt((xc * xc).sum(1) * (yc * yc).sum(1))
    b.row("embed", f"{len(x)} documents: cosine GPU to CPU: least {cos.min():.6f}, mean {cos.mean():.6f}; centred: least {centred.min():.4f}, mean {centred.mean():.4f}")
    b.clone("P", "K1", "K2")
    all_cpu = b.workflow("front-cpu", FRONT, EMBED, CLUSTER)
    cluster_gpu = b.workflow("cluster-gpu", FRONT, EMBED, CLUSTER, g_cluster=g)
    with ThreadPoolExecutor() as pool:
        jobs = {c: pool.submit(b.run, w, c, n) for c, w, n in [("P", all_cpu, 0), ("K1", cluster_gpu, g), ("K2", cluster_gpu, g)]}
    for cache, job in jobs.items():
        code, _, err, seconds = job.result()
        b.row("kmeans", cache, f"rc {code}", f"{seconds:.1f} s", err[-300:] if code else "")
    b.row("kmeans", "twice the same bytes", b.digest("K1", "cluster") == b.digest("K2", "cluster"), "as the CPU's", b.digest("P", "cluster") == b.digest("K1", "cluster"))
    def assigned(cache):
        folder = b.get(cache, "cluster")
        file = next(f for f in glob.glob(folder + "/*") if "assign" in f)
        return numpy.fromfile(file, dtype="<u4")
    p, k = assigned("P"), assigned("K1")
    b.row("kmeans", f"rows assigned alike {(p == k).mean():.5f} of {len(p)}")

def train(b):
    g = b.a.gpus
    b.clone("P", "T0", "T1", "T2")
    w = b.workflow("train", FRONT, EMBED, CLUSTER, TRAIN)
    with ThreadPoolExecutor() as pool:
        jobs = {c: pool.submit(b.climb, "run", w, "--cache", b.path(c), "--gpus", n, "--keep-going", timeout=200) for c, n in [("T0", 0), ("T1", g), ("T2", g)]}
    for cache, job in jobs.items():
        code, _, err, seconds = job.result()
        b.row("train", cache, f"rc {code}", f"{seconds:.1f} s", err[-400:] if code else "")
    for name in ["f32", "bf16", "auto", "cut", "cut-bf16", "wide", "wide-bf16", "doremi.mixture", "doremi.curve", "eval-f32", "eval-bf16"]:
        with contextlib.suppress(Exception):
            same = b.digest("T1", name) == b.digest("T2", name)
            b.row("twice", name, "the same bytes" if same else "OTHER BYTES")
    for whole, cut in [("f32", "cut"), ("bf16", "cut-bf16")]:
        for cache in ("T0", "T1"):
            with contextlib.suppress(Exception):
                same = b.digest(cache, whole) == b.digest(cache, cut)
                b.row("segments", cache, whole, "the same bytes as whole" if same else "OTHER BYTES than whole")
    for name in ["f32", "bf16", "auto", "wide", "wide-bf16", "doremi.curve"]:
        with contextlib.suppress(Exception):
            cpu, gpu, again = (curve(b.get(c, name)) for c in ("T0", "T1", "T2"))
            rel = max(abs(x / y - 1) for x, y in zip(gpu, cpu))
            b.row("losses", name, f"first {cpu[0]:.5f} {gpu[0]:.5f}, last CPU {cpu[-1]:.5f} GPU {gpu[-1]:.5f} again {again[-1]:.5f}, last rel {gpu[-1] / cpu[-1] - 1:+.2e}, most {rel:.2e}")
    for name in ["eval-f32", "eval-bf16"]:
        cpu, gpu = metrics(b.get("T0", name)), metrics(b.get("T1", name))
        rel = max(abs(gpu[key] / cpu[key] - 1) for key in cpu)
        b.row("scores", name, f"{len(cpu)} metrics, most relative difference {rel:.2e}")

def parity(b):
    """The very same model evaluated on both: the CPU's, taken into a cache that a GPU then works in."""
    g = b.a.gpus
    b.clone("T0", "X")
    w = b.workflow("again", FRONT, EMBED, CLUSTER, TRAIN.replace("eval-f32: {{uses: evaluate,", "eval-f32: {{uses: evaluate, with: {{batch: 8}},"))
    code, _, err, _ = b.run(w, "X", g)
    b.clone("T0", "Y")
    b.run(w, "Y", 0)
    gpu, cpu = metrics(b.get("X", "eval-f32")), metrics(b.get("Y", "eval-f32"))
    b.row("parity", "one model evaluated on both", f"rc {code}", f"most relative difference {max(abs(gpu[k] / cpu[k] - 1) for k in cpu):.2e}", err[-200:] if code else "")

def search(b):
    g = b.a.gpus
    w = b.workflow("search", FRONT, EMBED, CLUSTER, SEARCH, g_embed=g, g_cluster=g)
    plain = b.workflow("search-cpu", FRONT, EMBED, CLUSTER, SEARCH)
    with ThreadPoolExecutor() as pool:
        jobs = {"CPU": pool.submit(b.run, plain, "S0", 0, timeout=150), "GPU": pool.submit(b.climb, "run", w, "--cache", b.path("S1"), "--gpus", g, "--json", timeout=150)}
    for name, job in jobs.items():
        code, out, err, seconds = job.result()
        b.row("search", name, f"rc {code}", f"{seconds:.1f} s", err[-300:] if code else "")
    spans = stages(jobs["GPU"].result()[1])
    each = [t["end"] - t["start"] for t in spans.values() if ".train" in t["stage"] and t["end"]]
    evals = [t["end"] - t["start"] for t in spans.values() if ".evaluate" in t["stage"] and t["end"]]
    overlap = sum(a["start"] < c["start"] < a["end"] for n, a in spans.items() for m, c in spans.items()
                  if n != m and ".train" in a["stage"] and ".train" in c["stage"])
    if each and evals:
        b.row("search", f"a nano train of 120k tokens {sum(each) / len(each):.2f} s, an evaluate {sum(evals) / len(evals):.2f} s", f"trains side by side: {overlap}")
    for name, cache in [("CPU", "S0"), ("GPU", "S1")]:
        b.row("search", name, re.sub(r"\s+", " ", open(b.get(cache, "select.mixture")).read())[:200])

def resume(b):
    g = b.a.gpus
    part = """
  natural: {{uses: mixture, needs: {{clusters: merge}}}}
  long: {{uses: train, needs: {{mixture: natural, tokens: pack.train}}, with: {{<<: *w, precision: PRECISION}}}}
"""
    def one(precision):
        whole, cut = "R-" + precision, "RK-" + precision
        b.clone("P", whole, cut)
        w = b.workflow("resume-" + precision, FRONT, EMBED, CLUSTER, part.replace("PRECISION", precision),
                       wide="nano" if b.a.quick else "20M", wide_tokens=60000 if b.a.quick else 1500000)
        with ThreadPoolExecutor() as pool:
            uncut = pool.submit(b.run, w, whole, g, timeout=120)
            code, _, _, seconds = b.run(w, cut, g, interrupt_after=4 if b.a.quick else 9, timeout=60)
            again, _, err, more = b.climb("resume", "--cache", b.path(cut), timeout=120)
            uncut = uncut.result()
        same = b.digest(whole, "long") == b.digest(cut, "long")
        b.row("resume", precision, f"interrupted: rc {code} after {seconds:.1f} s, resumed: rc {again} in {more:.1f} s (whole {uncut[3]:.1f} s)",
              "the same bytes" if same else "OTHER BYTES")
    with ThreadPoolExecutor() as pool:
        for job in [pool.submit(one, precision) for precision in ("f32", "bf16")]:
            job.result()

def twice(b):
    """Long contexts: where attention's gradient is summed from many pieces."""
    g = b.a.gpus
    part = """
  natural: {{uses: mixture, needs: {{clusters: merge}}}}
  f32: {{uses: train, needs: {{mixture: natural, tokens: pack.train}}, with: {{<<: *w, precision: f32, context: LONG}}}}
  bf16: {{uses: train, needs: {{mixture: natural, tokens: pack.train}}, with: {{<<: *w, precision: bf16, context: LONG}}}}
""".replace("LONG", "64" if b.a.quick else "1024")
    w = b.workflow("twice", FRONT, EMBED, CLUSTER, part, wide="nano" if b.a.quick else "20M", wide_tokens=10000 if b.a.quick else 250000)
    binaries = [("new", b.a.climb)] + ([("old", b.a.old)] if b.a.old else [])
    with ThreadPoolExecutor() as pool:
        jobs = []
        for name, binary in binaries:
            b.clone("P", name + "1", name + "2")
            jobs += [pool.submit(b.run, w, name + n, g, binary=binary) for n in "12"]
        codes = [job.result()[0] for job in jobs]
    for name, _ in binaries:
        for precision in ("f32", "bf16"):
            same = b.digest(name + "1", precision) == b.digest(name + "2", precision)
            b.row("twice", name, "20M, context 1024", precision, "the same bytes" if same else "OTHER BYTES", codes)

def kept(b):
    """Tasks forked from one worker that has loaded libtorch, beside a process started for each."""
    w = b.workflow("kept", FRONT, EMBED, CLUSTER, SEARCH)
    b.clone("P", "F1", "F2")
    seconds = {}
    for cache, how, env in [("F1", "forked", {}), ("F2", "fresh", {"CLIMB_FRESH_WORKERS": "1"})]:
        code, _, err, seconds[how] = b.run(w, cache, b.a.gpus, env=env, timeout=150)
        b.row("kept", how, f"rc {code}", f"{seconds[how]:.1f} s", err[-300:] if code else "")
    b.row("kept", f"forked / fresh {seconds['forked'] / seconds['fresh']:.2f} in time")
    for name in [f"search[1].{stage}[{i}]" for stage in ("train", "evaluate") for i in range(4)] + ["select.selection"]:
        same = b.digest("F1", name) == b.digest("F2", name)
        b.row("kept", name, "the same bytes" if same else "OTHER BYTES")

TINY = """
  natural: {{uses: mixture, needs: {{clusters: merge}}}}
  tiny: {{uses: train, needs: {{mixture: natural, tokens: pack.train}}, with: {{<<: *t, tokens: 20000, seed: SEED}}, resources: RESOURCES}}
"""

def settings(b):
    g = b.a.gpus
    uuid = subprocess.run(["nvidia-smi", "--query-gpu=uuid", "--format=csv,noheader"], capture_output=True, text=True).stdout.strip() if g else "GPU-none"
    cases = [("plain", {}, "{}"), ("CVD empty", {"CUDA_VISIBLE_DEVICES": ""}, "{}"),
             ("CVD 0", {"CUDA_VISIBLE_DEVICES": "0"}, "{}"), ("CVD 7", {"CUDA_VISIBLE_DEVICES": "7"}, "{}"),
             ("CVD -1", {"CUDA_VISIBLE_DEVICES": "-1"}, "{}"), ("CVD uuid", {"CUDA_VISIBLE_DEVICES": uuid}, "{}"),
             ("gpus: 1 without", {"CUDA_VISIBLE_DEVICES": ""}, "{gpus: 1}"), ("gpus: 2", {}, "{gpus: 2}")]
    def one(n, case):
        name, env, resources = case
        cache = f"V{n}"
        b.clone("P", cache)
        part = TINY.replace("SEED", str(100 + n)).replace("RESOURCES", resources.replace("{", "{{").replace("}", "}}"))
        w = b.workflow(cache, FRONT, EMBED, CLUSTER, part)
        code, out, err, seconds = b.run(w, cache, max(g, 1), env=env, timeout=60)
        device = "?"
        with contextlib.suppress(Exception):
            loss = curve(b.get(cache, "tiny"))[-1]
            device = f"loss {loss:.4f}"
        said = [l for l in err.splitlines() if re.search("warn|error|GPU|CUDA", l)]
        b.row("settings", name, f"rc {code}", f"{seconds:.1f} s", device, " / ".join(said)[:400])
    with ThreadPoolExecutor(4) as pool:
        for job in [pool.submit(one, n, case) for n, case in enumerate(cases)]:
            job.result()
    code, out, _, _ = b.climb("log", "--cache", b.path("V0"))
    b.log(out)

def memory(b):
    g = b.a.gpus
    part = """
  natural: {{uses: mixture, needs: {{clusters: merge}}}}
  large: {{uses: train, needs: {{mixture: natural, tokens: pack.train}}, with: {{model: 350M, batch: 20000, context: 2048, tokens: 200000000}}}}
"""
    b.clone("P", "M1", "M2")
    w = b.workflow("memory", FRONT, EMBED, CLUSTER, part)
    for name, binary in [("M1", b.a.climb), ("M2", b.a.old)]:
        if binary:
            code, out, err, seconds = b.run(w, name, g, timeout=60, binary=binary)
            b.row("memory", name, f"rc {code} in {seconds:.1f} s", f"{len(err)} characters said", re.sub(r"\s+", " ", err)[:700])

def stages(out):
    """Of events as JSON lines: each task's start, end and progress."""
    tasks = {}
    for line in out.splitlines():
        with contextlib.suppress(ValueError, KeyError):
            event = json.loads(line)
            name = event.get("task")
            if not name:
                continue
            at = datetime.fromisoformat(re.sub(r"(\.\d{6})\d*", r"\1", event.get("at") or event.get("time")).replace("Z", "+00:00")).timestamp()
            task = tasks.setdefault(f'{event["stage"]}/{name}', {"stage": event["stage"], "start": None, "end": None, "progress": [], "totals": {}})
            kind = event["event"]
            if kind == "task_started":
                task["start"] = at
            elif kind in ("task_finished", "task_failed"):
                task["end"] = at
                task["error"] = event.get("error")
            elif kind == "task_reported" and "done" in event:
                task["progress"].append((at, event["done"]))
    return {n: t for n, t in tasks.items() if t["start"]}

class Card:
    """What nvidia-smi says five times a second."""
    def __enter__(self):
        self.seen, self.process = [], None
        if shutil.which("nvidia-smi"):
            self.process = subprocess.Popen(["nvidia-smi", "--query-gpu=memory.used,utilization.gpu", "--format=csv,noheader,nounits", "-lms", "200"],
                                            stdout=subprocess.PIPE, text=True)
            threading.Thread(target=self.read, daemon=True).start()
        return self
    def read(self):
        for line in self.process.stdout:
            with contextlib.suppress(ValueError):
                used, busy = map(int, line.split(","))
                self.seen.append((time.time(), used, busy))
    def __exit__(self, *_):
        if self.process:
            self.process.terminate()
    def during(self, start, end):
        some = [(used, busy) for at, used, busy in self.seen if start <= at <= end]
        return (max(u for u, _ in some), sum(x for _, x in some) / len(some)) if some else (0, 0)

def speed_workflow(b, precisions):
    part = "\n  natural: {{uses: mixture, needs: {{clusters: merge}}}}\n"
    for size, (batch, context, steps_bf16, steps_f32) in SPEED.items():
        for precision in precisions:
            steps = steps_bf16 if precision == "bf16" else steps_f32
            batch, context, steps = (2, 32, 40) if b.a.quick else (batch, context, steps)
            model = "nano" if b.a.quick else size
            part += (f"  s{size}-{precision}: {{{{uses: train, needs: {{{{mixture: natural, tokens: pack.train}}}}, with: {{{{model: {model}, precision: {precision}, "
                     f"batch: {batch}, context: {context}, tokens: {batch * context * steps}, learning_rate: 0.0005}}}}}}}}\n")
    return b.workflow("speed-" + "-".join(precisions), FRONT, EMBED, CLUSTER, part, vocab=8192)

def speed_front(b):
    w = b.workflow("speed-front", FRONT, EMBED, CLUSTER, vocab=8192)
    b.clone("P", "Q")
    code, _, err, seconds = b.run(w, "Q", 0)
    b.row("speed", "vocabulary of 8192", f"rc {code}", f"{seconds:.1f} s", err[-200:] if code else "")

def speed_of(b, name, binary, precisions):
    cache = "Q-" + name
    b.clone("Q", cache)
    with Card() as card:
        code, out, err, seconds = b.climb("run", speed_workflow(b, precisions), "--cache", b.path(cache), "--gpus", b.a.gpus, "--jobs", 1,
                                          "--keep-going", "--json", binary=binary, timeout=200)
    b.row("speed", name, f"rc {code}", f"{seconds:.1f} s", err[-300:] if code else "")
    for task in stages(out).values():
        steps = [p for p in task["progress"] if p[1] > 0]
        if len(steps) < 2 or not task["end"]:
            b.row("speed", name, task["stage"], "no progress", task.get("error"))
            continue
        # The first progress after 0 is behind the warm-up; the last one says when the last step was done.
        (t0, d0), (t1, d1) = steps[0], steps[-1]
        used, busy = card.during(t0, t1)
        rate = (d1 - d0) / max(t1 - t0, 1e-9)
        b.row("speed", name, task["stage"], f"{rate:,.0f} tokens/s", f"peak {used} MiB", f"busy {busy:.0f} %",
              f"whole task {task['end'] - task['start']:.1f} s, to the first progress {t0 - task['start']:.1f} s")

def speed_new(b):
    speed_of(b, "new", b.a.climb, ["bf16", "f32"])

def speed_old(b):
    if b.a.old:
        speed_of(b, "old", b.a.old, ["bf16"])

def peer(b):
    for how, seconds in [("eager", 100), ("compile", 120)]:
        if how not in b.a.peers:
            continue
        process = subprocess.Popen([sys.executable, "-u", __file__, "peer", how, *(["--quick"] if b.a.quick else [])],
                                   stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True)
        timer = threading.Timer(seconds, lambda: os.killpg(process.pid, signal.SIGKILL))
        timer.start()
        for line in process.stdout:
            b.row("peer", line.strip()) if "TFLOP" in line else b.log(line)
        timer.cancel()
        if process.wait():
            b.row("peer", how, "rc", process.returncode)

# Steps in one list run side by side: they are not timed.
STEPS = [[info], [encoder], [front], [train, search, settings, resume, twice], [kept], [parity], [speed_front], [speed_new], [speed_old], [memory], [peer]]

# ---------------------------------------------------------------- parts that need torch

def make_encoder(folder, quick):
    import torch
    from safetensors.torch import save_file
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
    os.makedirs(folder + "/1_Pooling", exist_ok=True)
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokenizer.train(glob.glob(HERE + "/docs/*.md") + glob.glob(HERE + "/stages/src/*.rs"), trainers.WordPieceTrainer(vocab_size=6000, special_tokens=special, show_progress=False))
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    tokenizer.save(folder + "/tokenizer.json")
    width, layers, vocab = 384, 1 if quick else 6, tokenizer.get_vocab_size()
    config = dict(model_type="bert", architectures=["BertModel"], hidden_size=width, num_hidden_layers=layers, num_attention_heads=12,
                  intermediate_size=4 * width, hidden_act="gelu", max_position_embeddings=256, vocab_size=vocab, type_vocab_size=2,
                  layer_norm_eps=1e-12, pad_token_id=0)
    json.dump(config, open(folder + "/config.json", "w"))
    json.dump([{"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
               {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"}], open(folder + "/modules.json", "w"))
    json.dump({"max_seq_length": 128, "do_lower_case": False}, open(folder + "/sentence_bert_config.json", "w"))
    json.dump({"word_embedding_dimension": width, "pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False,
               "pooling_mode_max_tokens": False, "pooling_mode_mean_sqrt_len_tokens": False}, open(folder + "/1_Pooling/config.json", "w"))
    torch.manual_seed(0)
    weights = {}
    def normal(name, *shape, std=0.05):
        weights[name] = torch.randn(*shape) * std
    def norm(name):
        weights[name + ".weight"], weights[name + ".bias"] = torch.ones(width), torch.zeros(width)
    normal("embeddings.word_embeddings.weight", vocab, width)
    normal("embeddings.position_embeddings.weight", 256, width, std=0.01)
    normal("embeddings.token_type_embeddings.weight", 2, width, std=0.01)
    norm("embeddings.LayerNorm")
    for i in range(layers):
        at = f"encoder.layer.{i}."
        for part in ("attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense"):
            normal(at + part + ".weight", width, width); normal(at + part + ".bias", width, std=0.02)
        normal(at + "intermediate.dense.weight", 4 * width, width); normal(at + "intermediate.dense.bias", 4 * width, std=0.02)
        normal(at + "output.dense.weight", width, 4 * width); normal(at + "output.dense.bias", width, std=0.02)
        norm(at + "attention.output.LayerNorm"); norm(at + "output.LayerNorm")
    save_file(weights, folder + "/model.safetensors")

def run_peer(how, quick):
    """The same shapes in plain PyTorch: f32 weights, autocast for bf16, fused AdamW, fused attention."""
    import torch
    import torch.nn.functional as F
    from torch import nn
    device = "cuda" if torch.cuda.is_available() else "cpu"
    sync = torch.cuda.synchronize if device == "cuda" else (lambda: None)
    class Block(nn.Module):
        def __init__(self, width, heads):
            super().__init__()
            hidden = (width * 8 // 3 + 15) // 16 * 16
            self.heads = heads
            self.norm1, self.norm2 = nn.RMSNorm(width, eps=1e-5), nn.RMSNorm(width, eps=1e-5)
            self.qkv, self.out = nn.Linear(width, 3 * width, bias=False), nn.Linear(width, width, bias=False)
            self.gate_up, self.down = nn.Linear(width, 2 * hidden, bias=False), nn.Linear(hidden, width, bias=False)
        def forward(self, x, cos, sin):
            B, T, W = x.shape
            q, k, v = self.qkv(self.norm1(x)).view(B, T, 3, self.heads, W // self.heads).permute(2, 0, 3, 1, 4)
            def rotate(x):
                a, b = x.chunk(2, -1)
                return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)
            y = F.scaled_dot_product_attention(rotate(q), rotate(k), v, is_causal=True)
            x = x + self.out(y.transpose(1, 2).reshape(B, T, W))
            a, b = self.gate_up(self.norm2(x)).chunk(2, -1)
            return x + self.down(F.silu(a) * b)
    class Llama(nn.Module):
        def __init__(self, layers, width, heads, vocab, context):
            super().__init__()
            self.embedding = nn.Embedding(vocab, width)
            self.blocks = nn.ModuleList(Block(width, heads) for _ in range(layers))
            self.norm = nn.RMSNorm(width, eps=1e-5)
            half = width // heads // 2
            angles = torch.arange(context)[:, None] * 10000.0 ** (-torch.arange(half) / half)
            self.register_buffer("cos", angles.cos()), self.register_buffer("sin", angles.sin())
            nn.init.normal_(self.embedding.weight, std=0.02)
        def forward(self, ids, targets, kind):
            x = self.embedding(ids).to(kind)
            cos, sin = self.cos.to(kind), self.sin.to(kind)
            for block in self.blocks:
                x = block(x, cos, sin)
            logits = F.linear(self.norm(x), self.embedding.weight)
            return F.cross_entropy(logits.view(-1, logits.shape[-1]).float(), targets.view(-1))
    def measure(size, precision, batch, context, steps, compiled):
        layers, width, heads = (2, 80, 2) if quick else SHAPES[size]
        torch.manual_seed(0)
        model = Llama(layers, width, heads, 8192, context).to(device)
        kind = torch.bfloat16 if precision == "bf16" else torch.float32
        optimizer = torch.optim.AdamW(model.parameters(), lr=5e-4, betas=(0.9, 0.95), weight_decay=0.1, fused=True)
        forward = torch.compile(model) if compiled else model
        if device == "cuda":
            torch.cuda.reset_peak_memory_stats()
        def step():
            ids = torch.randint(0, 8192, (batch, context + 1)).to(device)
            with torch.autocast(device, torch.bfloat16, enabled=precision == "bf16"):
                loss = forward(ids[:, :-1].contiguous(), ids[:, 1:].contiguous(), kind)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            return loss.item()
        began = time.time()
        for _ in range(3):
            step()
        sync()
        warm, began = time.time() - began, time.time()
        for _ in range(steps):
            step()
        sync()
        rate = steps * batch * context / (time.time() - began)
        peak = torch.cuda.max_memory_reserved() / 2**20 if device == "cuda" else 0
        parameters = sum(p.numel() for p in model.parameters())
        flops = rate * (6 * parameters + 6 * layers * width * context)
        print(f"{'compile' if compiled else 'eager'} s{size}-{precision} | {rate:,.0f} tokens/s | peak {peak:.0f} MiB | {flops / 1e12:.1f} TFLOP/s | warm-up {warm:.1f} s", flush=True)
        del model, optimizer, forward
        if device == "cuda":
            torch.cuda.empty_cache()
    def peak(kind, n):
        a, c = torch.randn(n, n, device=device, dtype=kind), torch.randn(n, n, device=device, dtype=kind)
        for _ in range(3):
            a @ c
        sync(); began = time.time()
        for _ in range(10):
            a @ c
        sync()
        print(f"matmul {n} {kind}: {2 * n**3 * 10 / (time.time() - began) / 1e12:.0f} TFLOP/s", flush=True)
    if how == "eager":
        peak(torch.bfloat16, 256 if quick else 8192); peak(torch.float32, 256 if quick else 4096)
    sizes = {"nano": (2, 16, 1, 1)} if quick else SPEED
    for size, (batch, context, steps, steps_f32) in sizes.items():
        try:
            if how == "eager":
                measure(size, "bf16", batch, context, min(steps, 300), False)
                measure(size, "f32", batch, context, min(steps_f32, 300) // (1 if size == "nano" else 2) or 1, False)
            elif size in ("62M", "350M", "nano"):
                measure(size, "bf16", batch, context, min(steps, 300), True)
        except Exception as error:
            print(f"{how} {size}: {error!r:.300}", flush=True)

def main():
    if sys.argv[1:2] == ["make-encoder"]:
        return make_encoder(sys.argv[2], "--quick" in sys.argv)
    if sys.argv[1:2] == ["peer"]:
        return run_peer(sys.argv[2], "--quick" in sys.argv)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("climb")
    parser.add_argument("--old", help="another binary, to compare with")
    parser.add_argument("--gpus", type=int, default=1)
    parser.add_argument("--torch", help="the folder of a PyTorch with CUDA that climb is to use")
    parser.add_argument("--xgboost", help="a folder with libxgboost.so, with --torch")
    parser.add_argument("--steps", default=",".join(step.__name__ for group in STEPS for step in group))
    parser.add_argument("--peers", default="eager,compile")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--deadline", type=float, default=1e9, help="seconds after which no step begins")
    args = parser.parse_args()
    bench, wanted = Bench(args), args.steps.split(",")
    def one(step):
        began = time.time()
        if began - bench.began > args.deadline:
            return bench.row(step.__name__, "no time left")
        try:
            step(bench)
        except Exception:
            bench.log(traceback.format_exc())
            bench.row(step.__name__, "FAILED", traceback.format_exc().splitlines()[-1][:300])
        print(f"    ({step.__name__}: {time.time() - began:.0f} s)", flush=True)
    for group in STEPS:
        with ThreadPoolExecutor() as pool:
            for job in [pool.submit(one, step) for step in group if step.__name__ in wanted]:
                job.result()
    shutil.rmtree(bench.tmp, ignore_errors=True)

if __name__ == "__main__":
    main()
