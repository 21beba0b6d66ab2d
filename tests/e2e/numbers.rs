//! Numbers and models from elsewhere: what is wrong with them is said where they come in.

use std::path::Path;

use crate::workspace::{Ran, Workspace};

fn run(workspace: &Workspace, stages: &str) -> Ran {
    workspace.write("w.yaml", format!("name: t\nstages:\n{stages}"));
    workspace.climb(&["run", "w.yaml"])
}

fn expect(ran: &Ran, code: i32, parts: &[&str]) {
    assert_eq!(ran.code, Some(code), "\n{}\n{}", ran.stdout, ran.stderr);
    for part in parts {
        let said = format!("{}{}", ran.stdout, ran.stderr);
        assert!(said.contains(part), "no {part:?} in:\n{said}");
    }
}

/// A command stage `e` that makes embeddings of rows of two numbers.
fn embeddings(workspace: &Workspace, rows: &[[f32; 2]]) -> String {
    let bytes: Vec<u8> = rows
        .as_flattened()
        .iter()
        .flat_map(|x| x.to_le_bytes())
        .collect();
    workspace.write("made/matrix.f32", bytes);
    workspace.write(
        "made/meta.json",
        format!("{{\"rows\": {}, \"cols\": 2}}", rows.len()),
    );
    "  e: {uses: command, with: {run: 'cp -r made \"$CLIMB_OUTPUT_E\"', scripts: [made], outputs: {e: \
     embeddings}}}\n"
        .to_string()
}

#[test]
fn an_embedding_that_is_no_number_ends_the_run_and_is_named() {
    let workspace = Workspace::empty();
    let mut rows: Vec<[f32; 2]> = (0..20).map(|i| [i as f32, 1.0]).collect();
    let cluster = "  k: {uses: kmeans, needs: {embeddings: e}, with: {k: 4}}\n";
    for (number, said) in [
        (
            f32::NAN,
            "the embedding of document 7 (the first is 0) has NaN in place 1",
        ),
        (
            f32::INFINITY,
            "document 7 (the first is 0) has inf in place 1",
        ),
        (1e20, "too large to be squared"),
    ] {
        rows[7][1] = number;
        let ran = run(&workspace, &(embeddings(&workspace, &rows) + cluster));
        let parts = ["error: e: its output `e` is no `embeddings`", "`e.e`", said];
        expect(&ran, 1, &parts);
        assert!(!ran.stderr.contains("error: k: "), "{}", ran.stderr);
    }
    let few = [[1.0, 2.0], [2.0, 1.0]].repeat(10);
    let ran = run(&workspace, &(embeddings(&workspace, &few) + cluster));
    expect(&ran, 0, &["2 of 4 clusters are empty"]);
}

/// What a trainer wrote for a run.
fn scored(score: &str, weights: &str) -> String {
    format!(
        "{{\"mixture\": {{\"weights\": {weights}}}, \"score\": {score}, \"direction\": \
         \"lower_is_better\", \"metrics\": {{}}}}"
    )
}

/// Runs `0.json` to `N.json` below `made`, of which the third is another.
fn runs(workspace: &Workspace, count: usize, third: &str) {
    for i in 0..count {
        let text = match i {
            2 => third.to_string(),
            _ => scored(&format!("{i}.5"), "[0.25, 0.75]"),
        };
        workspace.write(&format!("made/{i}.json"), text);
    }
}

/// A trainer `copy` of a fan-out over `s`, whose items are of this type, and the fit of its runs.
fn trainer(items: &str, options: &str) -> String {
    format!(
        r#"
  s: {{uses: command, with: {{run: 'cp -r made "$CLIMB_OUTPUT_O"', scripts: [made], outputs: {{o: {{type: list, items: {items}}}}}}}}}
  copy: {{uses: command, foreach: {{x: s.o}}, {options} with: {{run: 'cp "$CLIMB_INPUT_X" "$CLIMB_OUTPUT_O"', outputs: {{o: scored}}}}}}
  fit: {{uses: fit, needs: {{scored: all.copy}}}}
"#
    )
}

#[test]
fn a_run_whose_score_or_weights_are_no_numbers_is_named() {
    for (score, weights, said) in [
        ("NaN", "[0.5, 0.5]", "`score` is NaN, not a number"),
        ("-Infinity", "[0.5, 0.5]", "`score` is -Infinity"),
        ("3", "[-0.5, 1.5]", "weight 0 of the mixture is -0.5"),
        ("3", "[1, 1]", "sum to 2, not to 1"),
        ("\"good\"", "[1]", "it is malformed"),
    ] {
        let workspace = Workspace::empty();
        runs(&workspace, 4, &scored(score, weights));
        let wrong = "error: copy[2]: its output `o` is no `scored`";
        for _again in 0..2 {
            let ran = run(&workspace, &trainer("thing", ""));
            // The task that made it, each time: nothing of it was recorded.
            expect(&ran, 1, &[wrong, "`copy[2].o`", said]);
            assert!(!ran.stderr.contains("error: fit: "), "{}", ran.stderr);
        }
        let item = "error: s: the item `2.json` of its output `o` is no `scored`";
        let ran = run(&workspace, &trainer("scored", ""));
        expect(&ran, 1, &[item, "`s.o/2.json`", said]);
        // It is put right, and only what was wrong is done anew.
        runs(&workspace, 4, &scored("2.5", "[0.5, 0.5]"));
        expect(&run(&workspace, &trainer("thing", "")), 0, &[]);
    }
    let workspace = Workspace::empty();
    runs(&workspace, 4, &scored("3", "[0.2, 0.3, 0.5]"));
    let said = ["error: fit: ", "`copy[2].o`", "different clusterings"];
    expect(&run(&workspace, &trainer("thing", "")), 1, &said);
}

#[test]
fn a_run_that_is_no_number_is_dropped_where_the_workflow_says_so() {
    let workspace = Workspace::empty();
    runs(&workspace, 6, &scored("NaN", "[0.5, 0.5]"));
    let ran = run(&workspace, &trainer("thing", "on_failure: drop,"));
    let says = [
        "error: copy[2]: its output `o` is no `scored`",
        "it is dropped",
        "fit: it goes on without copy[2]",
    ];
    expect(&ran, 0, &says);
}

/// The tiny encoder, as sentence-transformers would have written it.
fn encoder(workspace: &Workspace, folder: &str) {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("stages/testdata/embed/tiny");
    for name in [
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    ] {
        let content = std::fs::read(from.join(name)).expect("readable");
        workspace.write(&format!("{folder}/{name}"), content);
    }
}

const EMBED: &str = "\
name: t
stages:
  corpus: {uses: corpus, with: {paths: [a.jsonl], min_chars: 1, heldout: {fraction: 0}}}
  embed: {uses: embed, needs: {documents: corpus.documents}, with: {model: MODEL}}
";

#[test]
fn a_model_is_looked_for_beside_the_workflow_and_checked_before_a_run() {
    let workspace = Workspace::empty();
    encoder(&workspace, "proj/mine");
    workspace.write("proj/a.jsonl", "{\"text\": \"some text\"}\n");
    workspace.write("proj/w.yaml", EMBED.replace("MODEL", "mine"));
    expect(&workspace.climb(&["run", "proj/w.yaml"]), 0, &[]);
    workspace.write(
        "proj/mine/1_Pooling/config.json",
        "{\"pooling_mode\": \"attention\"}",
    );
    let ran = workspace.climb(&["check", "proj/w.yaml"]);
    expect(
        &ran,
        2,
        &["proj/w.yaml:4:", "wants the pooling \"attention\""],
    );
}

#[test]
fn a_hub_name_is_the_snapshot_that_main_names() {
    let workspace = Workspace::empty();
    let snapshots = "hub/models--acme--enc/snapshots";
    encoder(&workspace, &format!("{snapshots}/ff"));
    encoder(&workspace, &format!("{snapshots}/0a"));
    // Were it read, it would be refused.
    workspace.write(
        &format!("{snapshots}/0a/config.json"),
        "{\"model_type\": \"old\"}",
    );
    workspace.write("hub/models--acme--enc/refs/main", "ff");
    workspace.write("a.jsonl", "{\"text\": \"some text\"}\n");
    workspace.write("w.yaml", EMBED.replace("MODEL", "acme/enc"));
    let check = || {
        let mut command = workspace.command(&["check", "w.yaml"]);
        command.env("HF_HUB_CACHE", workspace.path("hub"));
        Ran::from(command.output().expect("climb starts"))
    };
    expect(&check(), 0, &[]);
    std::fs::remove_file(workspace.path(&format!("{snapshots}/ff/model.safetensors"))).unwrap();
    expect(
        &check(),
        2,
        &["has no model.safetensors", "hf download acme/enc"],
    );
}
