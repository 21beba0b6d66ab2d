//! What people read when something is wrong, and the exit code.

use crate::workspace::{Ran, Workspace};

fn expect(ran: &Ran, code: i32, parts: &[&str]) {
    assert_eq!(ran.code, Some(code), "\n{}\n{}", ran.stdout, ran.stderr);
    for part in parts {
        assert!(
            ran.stderr.contains(part) || ran.stdout.contains(part),
            "no {part:?} in:\n{}\n{}",
            ran.stdout,
            ran.stderr
        );
    }
    assert!(!ran.stderr.contains("panicked"), "{}", ran.stderr);
}

/// Runs a workflow given as text.
fn run(workspace: &Workspace, yaml: &str) -> Ran {
    workspace.write("w.yaml", yaml);
    workspace.climb(&["run", "w.yaml"])
}

#[test]
fn all_that_is_wrong_with_a_workflow_is_said_at_once() {
    let workspace = Workspace::empty();
    let ran = run(
        &workspace,
        r#"
params: {clusters: 48}
stages:
  corpus: {uses: corpus, with: {paths: ["x/*.md"]}}
  embed: {uses: embed, needs: {documents: corpus.documents}, with: {max_token: 12}}
  cluster: {uses: kmean, needs: {embeddings: embed}}
  pack: {uses: pack, needs: {tokens: embed, clustering: cluster}}
  other: {uses: kmeans, needs: {embeddings: embed}, with: {k: "${params.cluster}"}}
"#,
    );
    expect(
        &ran,
        2,
        &[
            "w.yaml:5:",
            "`max_token`",
            "`max_tokens`",
            "w.yaml:6:",
            "`kmean`",
            "`kmeans`",
            "w.yaml:7:",
            "embeddings",
            "tokens",
            "w.yaml:8:",
            "params.cluster",
            "`params.clusters`",
            "nothing was started",
        ],
    );
    assert!(
        !workspace.path(".climb").exists(),
        "a wrong workflow must not make a cache"
    );
}

#[test]
fn a_cycle_is_named() {
    let workspace = Workspace::empty();
    let command = |needs: &str| {
        format!("{{uses: command, needs: {{x: {needs}}}, with: {{run: [a], outputs: {{y: t}}}}}}")
    };
    let yaml = format!("stages:\n  a: {}\n  b: {}\n", command("b"), command("a"));
    expect(&run(&workspace, &yaml), 2, &["cycle", "a", "b", "w.yaml:"]);
}

#[test]
fn broken_yaml_has_a_place() {
    let workspace = Workspace::empty();
    expect(
        &run(&workspace, "stages:\n  a: {uses: [\n"),
        2,
        &["w.yaml:"],
    );
    expect(
        &workspace.climb(&["run", "nowhere.yaml"]),
        2,
        &["nowhere.yaml"],
    );
}

fn corpus(with: &str) -> String {
    format!("stages:\n  corpus: {{uses: corpus, with: {{{with}}}}}\n")
}

#[test]
fn a_missing_corpus_is_found_before_anything_runs() {
    let workspace = Workspace::empty();
    let ran = run(&workspace, &corpus("paths: [\"no/such/**/*.md\"]"));
    expect(
        &ran,
        2,
        &[
            "`no/such/**/*.md` matches no file",
            "does not exist",
            "w.yaml:2:",
        ],
    );
}

#[test]
fn bad_jsonl_lines_are_counted_and_the_rest_is_used() {
    let workspace = Workspace::empty();
    let good = "{\"text\": \"A line of honest prose that is long enough to be kept.\"}\n";
    workspace.write(
        "c/a.jsonl",
        format!("{good}{{broken\n{}\n", good.replace("honest", "other")),
    );
    let ran = run(&workspace, &corpus("paths: [c]"));
    expect(&ran, 0, &["warning: corpus: ", "a.jsonl:2"]);
    workspace.write("c/a.jsonl", "{broken\n");
    let said = [
        "w.yaml:2:",
        "none of the first 1 records",
        "a.jsonl:1: it is not JSON",
    ];
    expect(&run(&workspace, &corpus("paths: [c]")), 2, &said);
}

#[test]
fn an_empty_parquet_is_found_before_anything_runs() {
    let workspace = Workspace::empty();
    workspace.write("c/part-0.parquet", "");
    let ran = run(&workspace, &corpus("paths: [c]"));
    expect(&ran, 2, &["part-0.parquet", "w.yaml:2:"]);
}

#[test]
fn a_model_folder_lacking_a_file_is_found_before_anything_runs() {
    let workspace = Workspace::empty();
    workspace.write(
        "c/a.md",
        "Some text that is long enough to be a document of its own.",
    );
    workspace.write("encoder/config.json", "{\"model_type\": \"bert\"}");
    workspace.write("encoder/tokenizer.json", "{}");
    let yaml = "stages:\n  corpus: {uses: corpus, with: {paths: [c]}}\n  embed: {uses: embed, needs: \
                {documents: corpus.documents}, with: {model: encoder}}\n";
    expect(
        &run(&workspace, yaml),
        2,
        &["model.safetensors", "encoder", "w.yaml:3:"],
    );
}

#[test]
fn more_clusters_than_documents_fails_with_both_numbers() {
    let workspace = Workspace::warm();
    let ran = workspace.climb(&["run", "small.yaml", "--set", "params.clusters=5000"]);
    let both = ["small.yaml:26:65", "k is 5000", "120 documents at most"];
    expect(&ran, 2, &both);
    // Where nobody says how many documents there are at most, it shows when they are counted, and
    // not after they are embedded.
    let few = "{\"text\": \"one document\"}\n{\"text\": \"another document\"}\n";
    workspace.write("few.jsonl", few);
    let yaml = workspace.read("small.yaml");
    let model = yaml.lines().find(|line| line.contains("uses: embed"));
    workspace.write(
        "few.yaml",
        format!(
            "stages:\n  corpus: {{uses: corpus, with: {{paths: [few.jsonl], min_chars: 1, heldout: \
             {{fraction: 0}}}}}}\n{}\n  cluster: {{uses: kmeans, needs: {{embeddings: embed}}, with: {{k: \
             5000}}}}\n",
            model.expect("small.yaml embeds")
        ),
    );
    let ran = workspace.climb(&["run", "few.yaml"]);
    expect(
        &ran,
        1,
        &[
            "error: cluster: ",
            "few.yaml:4:65: `k` is 5000, but `corpus` has only 2 documents (lower `k`",
            "the same command goes on from here",
        ],
    );
    let began = |what: &str| {
        let log = workspace.climb(&["log"]).stdout;
        log.contains(&format!(" {what}: started"))
    };
    assert!(began("corpus") && !began("embed"));
    // So it is where the corpus is there already.
    let ran = workspace.climb(&["run", "few.yaml"]);
    expect(&ran, 1, &["few.yaml:4:65: `k` is 5000"]);
    assert!(!began("corpus") && !began("embed"));
    // Who goes on after failures is told by the stage itself.
    let ran = workspace.climb(&["run", "few.yaml", "--keep-going"]);
    expect(
        &ran,
        1,
        &["error: cluster: k is 5000, but its input is only 2 documents"],
    );
    assert!(began("embed"));
    let ran = workspace.climb(&["run", "few.yaml", "--set", "stages.cluster.with.k=2"]);
    expect(&ran, 0, &[]);
}

#[test]
fn weights_that_sum_to_zero_are_refused() {
    let workspace = Workspace::small();
    let text = workspace.read("small.yaml");
    let own = r#"
  zero:
    uses: command
    with:
      run: echo '{"weights":[0,0,0,0]}' > "$CLIMB_OUTPUT_MIXTURE"
      outputs: {mixture: mixture}
  zero-train:
    uses: train
    needs: {mixture: zero, tokens: pack.train}
    with: {model: "${params.proxy}", tokens: 1024, context: 32, batch: 4}
"#;
    workspace.write("small.yaml", text + own);
    let ran = workspace.climb(&["run", "small.yaml", "--keep-going"]);
    expect(
        &ran,
        1,
        &[
            "error: zero: its output `mixture` is no `mixture`",
            "sum to 0",
        ],
    );
}

#[test]
fn a_wrong_set_says_what_there_is() {
    let workspace = Workspace::small();
    let ran = workspace.climb(&["run", "small.yaml", "--set", "params.cluster=5"]);
    expect(&ran, 2, &["params.cluster", "params.clusters"]);
    let ran = workspace.climb(&["run", "small.yaml", "--set", "params.clusters=many"]);
    expect(&ran, 2, &["many", "k", "integer"]);
}
