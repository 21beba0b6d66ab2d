//! Near-duplicates planted between training and held-out text.

use std::collections::HashSet;
use std::path::Path;

use serde_json::{Value, json};

use crate::workspace::Workspace;

const WORKFLOW: &str = "
params: {share: 0.7}
stages:
  corpus:
    uses: corpus
    with:
      paths: [corpus]
      heldout: {name: held, match: ['held.jsonl'], fraction: 1}
      decontaminate: {share: \"${params.share}\"}
";

/// This project's prose in pieces of some 100 words, none twice.
fn pieces() -> Vec<String> {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    let mut files: Vec<_> = std::fs::read_dir(docs)
        .expect("docs")
        .map(|entry| entry.expect("readable").path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "md"))
        .collect();
    files.sort();
    let text: String = files
        .iter()
        .map(|path| std::fs::read_to_string(path).expect("UTF-8"))
        .collect();
    let words: Vec<&str> = text.split(' ').collect();
    words.chunks(100).map(|words| words.join(" ")).collect()
}

/// One of the things that happen to copies.
fn copy(text: &str, which: usize) -> String {
    match which % 5 {
        0 => format!("{text}\n"),
        1 => text.replace('\n', "\r\n"),
        2 => text.to_uppercase(),
        3 => text.replacen(" the ", " a ", 1),
        _ => format!("Copied from elsewhere:\n\n{text}"),
    }
}

fn texts(workspace: &Workspace, output: &str) -> Vec<String> {
    let got = workspace.climb(&["get", output, "got"]);
    assert!(got.ok(), "{}", got.stderr);
    let offsets = std::fs::read(workspace.path("got/00000.offsets")).expect("offsets");
    let offsets: Vec<usize> = offsets
        .chunks(8)
        .map(|bytes| u64::from_le_bytes(bytes.try_into().expect("eight")) as usize)
        .collect();
    let text = workspace.read("got/00000.text");
    std::fs::remove_dir_all(workspace.path("got")).expect("removed");
    offsets
        .windows(2)
        .map(|at| text[at[0]..at[1]].to_string())
        .collect()
}

/// Held-out texts of which half the runs of three words stand in one text that is trained on.
fn twins(workspace: &Workspace) -> usize {
    let runs = |text: &String| -> HashSet<String> {
        let text = text.to_lowercase();
        let words: Vec<&str> = text.split_whitespace().collect();
        words.windows(3).map(|run| run.join(" ")).collect()
    };
    let train: Vec<_> = texts(workspace, "corpus.documents")
        .iter()
        .map(runs)
        .collect();
    let held: Vec<_> = texts(workspace, "corpus.heldout")
        .iter()
        .map(runs)
        .collect();
    let is_twin = |held: &&HashSet<String>| {
        train
            .iter()
            .any(|text| 2 * text.intersection(held).count() >= held.len())
    };
    held.iter().filter(is_twin).count()
}

#[test]
fn no_planted_near_duplicate_of_a_held_out_text_is_trained_on() {
    let workspace = Workspace::empty();
    let (held, others): (Vec<_>, Vec<_>) = pieces()
        .into_iter()
        .enumerate()
        .partition(|(i, _)| i % 5 == 0);
    // Of 30 % of what is held out.
    let planted = held
        .iter()
        .filter(|(i, _)| i % 50 < 15)
        .map(|(i, text)| copy(text, i / 5));
    let planted: Vec<String> = planted.collect();
    let lines = |texts: &[String]| -> String {
        texts
            .iter()
            .map(|text| format!("{}\n", json!({"text": text})))
            .collect()
    };
    let only = |of: Vec<(usize, String)>| of.into_iter().map(|(_, text)| text).collect::<Vec<_>>();
    let (held, others) = (only(held), only(others));
    workspace.write("corpus/held.jsonl", lines(&held));
    // Our docs say some things twice: what they have in common without any plant is no leak of it.
    workspace.write("corpus/a.jsonl", lines(&others));
    workspace.write("w.yaml", WORKFLOW);
    let run = workspace.climb(&["run", "w.yaml", "--set", "params.share=0"]);
    assert!(run.ok(), "{}", run.stderr);
    let natural = twins(&workspace);
    assert!(natural <= 2, "{natural}");
    let half = planted.len() / 2;
    workspace.write(
        "corpus/a.jsonl",
        lines(&[&others[..], &planted[..half]].concat()),
    );
    workspace.write("corpus/z.jsonl", lines(&planted[half..]));

    let run = workspace.climb(&["run", "w.yaml", "--set", "params.share=0"]);
    assert!(run.ok(), "{}", run.stderr);
    let leaked = twins(&workspace);
    assert!(
        planted.len() >= 15 && leaked >= planted.len(),
        "{leaked} of {}",
        planted.len()
    );

    let run = workspace.climb(&["run", "w.yaml"]);
    assert!(run.ok(), "{}", run.stderr);
    let left = twins(&workspace);
    assert!(left <= natural, "{left} {natural}");
    assert_eq!(
        texts(&workspace, "corpus.heldout").len(),
        held.len(),
        "held out wins"
    );
    let left = texts(&workspace, "corpus.documents").len();
    assert!(left + 5 >= others.len(), "{left} of {}", others.len());
    let said = "texts dropped because they are nearly held-out ones: ";
    assert!(run.stderr.contains(said), "{}", run.stderr);
    let shown = workspace.climb(&["show"]);
    assert!(shown.stdout.contains(said), "{}", shown.stdout);
    let got = workspace.climb(&["get", "corpus.documents", "report"]);
    assert!(got.ok(), "{}", got.stderr);
    let report: Value = serde_json::from_str(&workspace.read("report/report.json")).expect("JSON");
    assert!(report["counts"]["near_heldout"].as_u64() >= Some(planted.len() as u64));
    assert_eq!(
        report["extra"]["examples"]["near_heldout"]
            .as_array()
            .map(Vec::len),
        Some(5)
    );
}
