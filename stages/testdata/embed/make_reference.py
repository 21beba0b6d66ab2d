#!/usr/bin/env python3
"""Makes the reference of the test `embed::tests::it_agrees_with_sentence_transformers`.

    python3 -m venv /tmp/venv && /tmp/venv/bin/pip install torch==2.11.0 sentence-transformers
    /tmp/venv/bin/python stages/testdata/embed/make_reference.py

200 texts go to documents.jsonl: pieces of this repository of many lengths, then what tokenizers trip
over. Their vectors by sentence-transformers from the same folder go to vectors.npy as float16, whose
rounding moves a cosine by less than 1e-6.
"""

import glob
import json
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.join(HERE, "..", "..", "..")
MODEL = os.path.join(ROOT, ".deps", "models", "all-MiniLM-L6-v2")

ODD = [
    "a",
    "Hello, world!",
    "   leading and trailing blanks   \n\n\n",
    "CamelCase snake_case kebab-case SCREAMING_CASE 0xDEADBEEF 3.14159e-10",
    "naïve café Straße coöperate Ångström İstanbul ﬁne",
    "Größenwahn und Übermut tun selten gut, sagte die Großmutter.",
    "Быстрая коричневая лиса прыгает через ленивую собаку.",
    "素早い茶色の狐がのろまな犬を飛び越える。",
    "快速的棕色狐狸跳过懒狗。",
    "빠른 갈색 여우가 게으른 개를 뛰어넘는다.",
    "الثعلب البني السريع يقفز فوق الكلب الكسول",
    "emoji 🦀🚀 and 👩‍👩‍👧‍👦 families, zero​width",
    "[CLS] special [SEP] tokens [MASK] in [PAD] text [UNK]",
    "control \u0007 characters \u001b[31m and \ufffd replacement",
    "x" * 300,
    "word " * 600,
    "\t\tif (a < b && c > d) { return a[b]->c; } // ©2024",
    "<html><body><p>markup &amp; entities</p></body></html>",
    "$$\\int_0^\\infty e^{-x^2}\\,dx = \\frac{\\sqrt{\\pi}}{2}$$",
    "a\u0301 e\u0301 combining marks, and \u00e9 composed",
]


def texts():
    pattern = os.path.join(ROOT, "**", "*.*")
    files = [f for f in glob.glob(pattern, recursive=True)
             if f.endswith((".md", ".rs", ".py", ".yaml", ".toml")) and "/target/" not in f]
    files.sort(key=lambda path: os.path.relpath(path, ROOT))
    pieces = []
    for i, path in enumerate(files):
        with open(path, encoding="utf-8") as file:
            text = file.read()
        length = [40, 120, 350, 800, 2400][i % 5]
        for start in range(0, len(text), 4000):
            piece = text[start:start + length]
            if piece.strip():
                pieces.append(piece)
    wanted = 200 - len(ODD)
    return [pieces[i * len(pieces) // wanted] for i in range(wanted)] + ODD


def main():
    import numpy
    from sentence_transformers import SentenceTransformer

    path = os.path.join(HERE, "documents.jsonl")
    if "--keep-documents" in sys.argv:
        with open(path, encoding="utf-8") as file:
            documents = [json.loads(line) for line in file]
    else:
        documents = texts()
        with open(path, "w", encoding="utf-8") as file:
            for text in documents:
                file.write(json.dumps(text) + "\n")
    vectors = SentenceTransformer(MODEL, device="cpu").encode(documents, batch_size=8)
    numpy.save(os.path.join(HERE, "vectors.npy"), vectors.astype(numpy.float16))


main()
