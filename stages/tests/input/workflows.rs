//! Workflow files, expressions and `--set`.

use std::path::Path;
use std::sync::OnceLock;

use climb_contract::command::CommandStage;
use climb_contract::stage::Registry;

#[path = "../../../tests/hostile/entry/workflow.rs"]
mod entry;

use crate::hostile::mutate::mutated;
use crate::hostile::random::Random;
use crate::hostile::{cases, pick};

/// What a workflow of a few kilobytes may take while it is loaded.
const BOUND: usize = 300 << 20;

const WORDS: [&str; 26] = [
    "${",
    "}",
    "${params.",
    "${params.a}",
    "${env.HOME}",
    "${iteration}",
    "$$",
    "&a ",
    "*a",
    "<<: ",
    "!!x ",
    "- ",
    "{",
    "[",
    "]",
    "? ",
    ": ",
    "|\n",
    "\t",
    "\u{feff}",
    "\u{0}",
    "\"",
    "'",
    "#",
    "---\n",
    "all.train",
];

fn word(all: &[&'static str], random: &mut Random) -> &'static str {
    all[random.below(all.len() as u64) as usize]
}

fn registry() -> &'static Registry {
    static REGISTRY: OnceLock<Registry> = OnceLock::new();
    REGISTRY.get_or_init(|| {
        let mut kinds = climb_stages::kinds();
        kinds.push(Box::new(CommandStage));
        Registry::new(kinds)
    })
}

fn load(text: &str, set: &[(String, String)]) {
    entry::load(text, set, registry());
}

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// Every workflow in the repository.
fn texts() -> Vec<Vec<u8>> {
    let root = root();
    let mut texts = Vec::new();
    for folder in ["workflows", "tests/data", "tests/broken"] {
        let entries = std::fs::read_dir(root.join(folder)).unwrap();
        let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
        files.retain(|file| file.extension().is_some_and(|ending| ending == "yaml"));
        files.sort();
        texts.extend(files.iter().map(|file| std::fs::read(file).unwrap()));
    }
    assert!(texts.len() > 40);
    texts
}

#[test]
fn mutated_workflows() {
    let texts = texts();
    cases(600, BOUND, |random| {
        let (text, other) = (pick(&texts, random), pick(&texts, random));
        let text = mutated(text, other, &WORDS, random);
        load(&String::from_utf8_lossy(&text), &[]);
    });
}

/// YAML of nothing but its own punctuation, names that mean something here, and numbers.
fn soup(random: &mut Random) -> String {
    let more = [
        "params", "stages", "uses", "with", "needs", "foreach", "repeat", "over", "sweep",
        "extends", "command", "a", "b", " ", "  ", "\n", "\n  ", ",", "1", "1e999", "-0", ".inf",
        "0x", "~", "é",
    ];
    let mut text = String::new();
    for _ in 0..random.below(60) {
        match random.below(2) {
            0 => text.push_str(word(&WORDS, random)),
            _ => text.push_str(word(&more, random)),
        }
    }
    text
}

#[test]
fn soup_for_a_workflow() {
    cases(2500, BOUND, |random| {
        load(&soup(random), &[]);
    });
}

#[test]
fn expressions() {
    let pieces = [
        "${",
        "}",
        "params",
        ".",
        "a",
        "b",
        "[",
        "]",
        "0",
        "9",
        "99999999999999999999",
        "env.HOME",
        ":-",
        "$",
        " ",
        "iteration",
        "é",
        "\u{0}",
        "-1",
        "..",
    ];
    cases(2500, BOUND, |random| {
        let mut text = || {
            let mut text = String::new();
            for _ in 0..random.below(12) {
                text.push_str(word(&pieces, random));
            }
            text
        };
        let (a, b, c) = (text(), text(), text());
        load(&entry::with_expressions(&a, &b, &c), &[]);
    });
}

#[test]
fn settings() {
    let small = include_str!("../../../tests/data/small.yaml");
    let names = [
        "params", "stages", ".", "..", "corpus", "with", "paths", "clusters", "k", "0", "", "é",
        "[0]",
    ];
    cases(500, BOUND, |random| {
        let mut name = pick(&["params.", "stages.", ""], random).to_string();
        for _ in 0..random.below(6) {
            name.push_str(word(&names, random));
        }
        let value = match random.below(3) {
            0 => soup(random),
            1 => "[".repeat(random.below(3000) as usize),
            _ => {
                let value = mutated(b"{a: [1, 2.5, x], b: {c: true}}", b"&a *a", &WORDS, random);
                String::from_utf8_lossy(&value).into_owned()
            }
        };
        load(small, &[(name, value)]);
    });
}
