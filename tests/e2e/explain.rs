//! `climb explain`: each kind of reason, from changing exactly that.

use std::path::PathBuf;

use climb_cache::Cache;
use serde_json::Value;

use crate::workspace::Workspace;

/// Three commands in a row; `first` has a script, a variable and a parameter.
const ROW: &str = r#"
params: {n: 1}
stages:
  first:
    uses: command
    with:
      run: sh say.sh "$CLIMB_PARAM_N" > "$CLIMB_OUTPUT_TEXT"
      scripts: [say.sh]
      pass_env: [TOKEN]
      params: {n: "${params.n}"}
      outputs: {text: text}
  second:
    uses: command
    needs: {text: first}
    with: {run: 'tr 1 2 < "$CLIMB_INPUT_TEXT" > "$CLIMB_OUTPUT_COPY"', outputs: {copy: text}}
  third:
    uses: command
    needs: {text: second}
    with: {run: cat "$CLIMB_INPUT_TEXT" > "$CLIMB_OUTPUT_COPY", outputs: {copy: text}}
"#;

/// A list of `n` numbers, and a task for each.
const FAN: &str = r#"
params: {n: 2, p: 1}
stages:
  items:
    uses: command
    with:
      run: >-
        mkdir "$CLIMB_OUTPUT_LIST"; for i in $(seq "$CLIMB_PARAM_N");
        do echo "item $i" > "$CLIMB_OUTPUT_LIST/$i"; done
      params: {n: "${params.n}"}
      outputs: {list: {type: things, items: thing}}
  each:
    uses: command
    foreach: {thing: items}
    with:
      run: cat "$CLIMB_INPUT_THING" > "$CLIMB_OUTPUT_COPY"
      params: {p: "${params.p}"}
      outputs: {copy: text}
"#;

/// The part of a workflow before the stage `name`.
fn before(yaml: &str, name: &str) -> String {
    let at = yaml.find(&format!("\n  {name}:")).expect("the stage");
    yaml[..=at].to_string()
}

pub fn row() -> Workspace {
    let workspace = Workspace::empty();
    workspace.write("say.sh", "echo $1");
    workspace.write("w.yaml", ROW);
    run(&workspace, "w.yaml", &[]);
    workspace
}

pub fn fan() -> Workspace {
    let workspace = Workspace::empty();
    workspace.write("w.yaml", FAN);
    run(&workspace, "w.yaml", &[]);
    workspace
}

fn with_token(workspace: &Workspace, args: &[&str], token: &str) -> String {
    let output = workspace.command(args).env("TOKEN", token).output();
    let output = output.expect("climb starts");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

fn run(workspace: &Workspace, file: &str, set: &[&str]) {
    let set = set.iter().flat_map(|set| ["--set", set]);
    let args: Vec<&str> = ["run", file].into_iter().chain(set).collect();
    with_token(workspace, &args, "secret-one");
}

pub fn explain(workspace: &Workspace, extra: &[&str]) -> String {
    let args: Vec<&str> = ["explain", "w.yaml"].iter().chain(extra).copied().collect();
    with_token(workspace, &args, "secret-one")
}

fn expect(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "no {part:?} in:\n{text}");
    }
}

#[test]
fn nothing_to_explain_when_all_is_cached() {
    assert_eq!(explain(&row(), &[]), "3 tasks cached, 0 to run\n");
}

#[test]
fn a_parameter() {
    let text = explain(&row(), &["--set", "params.n=2"]);
    expect(
        &text,
        &[
            "first would run:\n    params.n 1 -> 2\n    (compared with first of run ",
            "second: not known yet, as first would run\n",
            "third: not known yet, as first would run\n",
            "0 tasks cached, 1 to run; the rest is not known yet\n",
        ],
    );
}

#[test]
fn an_edited_script() {
    let workspace = row();
    workspace.write("say.sh", "echo \"$1\"");
    expect(
        &explain(&workspace, &[]),
        &["    scripts: say.sh changed\n"],
    );
}

#[test]
fn an_environment_variable_without_its_value() {
    let workspace = row();
    for args in [
        vec!["explain", "w.yaml"],
        vec!["explain", "w.yaml", "--json"],
    ] {
        let text = with_token(&workspace, &args, "secret-two");
        assert!(!text.contains("secret"), "{text}");
        let digest = blake3::hash(b"secret-two").to_hex();
        assert!(!text.contains(digest.as_str()), "{text}");
    }
    let text = with_token(&workspace, &["explain", "w.yaml"], "secret-two");
    expect(&text, &["    environment variable TOKEN changed\n"]);
}

#[test]
fn a_stage_that_never_ran() {
    let workspace = row();
    // Another name alone would be cached: names are in no key.
    let yaml = ROW
        .replace("  third:", "  fourth:")
        .replace("run: cat", "run: cat -u");
    workspace.write("w.yaml", yaml);
    let text = explain(&workspace, &[]);
    expect(&text, &["fourth would run:\n    not run yet\n"]);
}

#[test]
fn an_input_is_followed_to_its_root() {
    let workspace = row();
    // `first` and `second` ran with the new value, `third` did not.
    workspace.write("part.yaml", before(ROW, "third"));
    run(&workspace, "part.yaml", &["params.n=3"]);
    let because = "input text changed (second.copy), because first: params.n 1 -> 3\n";
    let text = explain(&workspace, &["--set", "params.n=3"]);
    let third = format!("third would run:\n    {because}");
    expect(&text, &[&third, "2 tasks cached, 1 to run\n"]);
    let plan = ["plan", "w.yaml", "--set", "params.n=3"];
    let text = with_token(&workspace, &plan, "secret-one");
    expect(&text, &[&format!("because: {because}")]);
}

#[test]
fn an_input_from_another_stage() {
    let workspace = row();
    let yaml = ROW.replace("needs: {text: second}", "needs: {text: first}");
    workspace.write("w.yaml", yaml);
    let text = explain(&workspace, &["third"]);
    expect(&text, &["    input text is first.text, was second.copy"]);
}

#[test]
fn the_latest_run_is_what_one_compares_with() {
    let workspace = row();
    run(&workspace, "w.yaml", &["params.n=2"]);
    let three = ["first", "--set", "params.n=3"];
    expect(&explain(&workspace, &three), &["    params.n 2 -> 3\n"]);
    // Cached, but the latest all the same.
    run(&workspace, "w.yaml", &[]);
    expect(&explain(&workspace, &three), &["    params.n 1 -> 3\n"]);
}

#[test]
fn a_new_item_of_a_fan_out() {
    let workspace = fan();
    workspace.write("part.yaml", before(FAN, "each"));
    run(&workspace, "part.yaml", &["params.n=3"]);
    let text = explain(&workspace, &["each", "--set", "params.n=3"]);
    expect(
        &text,
        &[
            "each[2] would run:\n    a new thing, because items: params.n 2 -> 3\n",
            "2 tasks cached, 1 to run\n",
        ],
    );
    // Each of the others is compared with the record of its own item.
    let more = ["each", "--set", "params.n=3", "--set", "params.p=2"];
    let text = explain(&workspace, &more);
    expect(
        &text,
        &[
            "each: 2 of 3 tasks would run:\n    params.p 1 -> 2\n    (compared with each[0] of run ",
            "each[2] would run:\n    params.p 1 -> 2\n    a new thing, because items: params.n 2 -> 3\n",
        ],
    );
}

#[test]
fn what_is_not_known_yet_still_tells_its_own_changes() {
    let set = ["--set", "params.n=3", "--set", "params.p=2"];
    let text = explain(&fan(), &set);
    expect(
        &text,
        &["each: not known yet, as items would run\n    besides, params.p 1 -> 2\n"],
    );
}

/// The object of the only file of an output of more than 4096 bytes.
fn object(workspace: &Workspace, output: &str, file: &str) -> PathBuf {
    let artifact = &workspace.artifacts()[output]["folder"][file];
    let digest = artifact["digest"].as_str().expect("a digest").to_string();
    workspace.path(&format!(".climb/objects/{}/{}", &digest[..2], &digest[2..]))
}

#[test]
fn a_missing_or_damaged_output() {
    for (damage, says) in [(false, "is gone"), (true, "is damaged")] {
        let workspace = Workspace::warm();
        let object = object(&workspace, "embed.embeddings", "matrix.f32");
        let mut bytes = std::fs::read(&object).expect("the object");
        std::fs::remove_file(&object).expect("removed");
        if damage {
            bytes[100] ^= 1;
            std::fs::write(&object, bytes).expect("written");
        }
        let line = format!("embed would run:\n    its output embeddings/matrix.f32 {says}\n");
        // The second time the record is forgotten, but why is not.
        for _ in 0..2 {
            let ran = workspace.climb(&["explain", "small.yaml", "embed"]);
            expect(&ran.stdout, &[&line]);
        }
        workspace.run_small(&[]);
        let ran = workspace.climb(&["explain", "small.yaml", "embed"]);
        expect(&ran.stdout, &["1 task cached, 0 to run"]);
    }
}

#[test]
fn a_source_file_by_its_name() {
    let workspace = Workspace::warm();
    let explain = || workspace.climb(&["explain", "small.yaml", "corpus"]).stdout;
    let file = "corpus/engine/workflow/src/graph.rs";
    let text = workspace.read(file);
    workspace.write(file, text.replace("axis", "axes"));
    expect(
        &explain(),
        &["    files: engine/workflow/src/graph.rs changed\n"],
    );
    std::fs::remove_file(workspace.path(file)).expect("removed");
    expect(
        &explain(),
        &["    files: engine/workflow/src/graph.rs removed\n"],
    );
    workspace.write(file, &text);
    workspace.write("corpus/new.md", "# New");
    expect(&explain(), &["    files: new.md added\n"]);
    // The list that says so may be lost; then only this can be told.
    std::fs::remove_dir_all(workspace.path(".climb/sources")).expect("removed");
    expect(
        &explain(),
        &["    files: some files changed (which ones is not known any more)\n"],
    );
}

#[test]
fn a_stage_version() {
    let old = Workspace::warm();
    let embed = Cache::open(&old.path(".climb"), "test").expect("opens");
    let embed = embed.records_of("embed", "embed").expect("readable").next();
    let mut record = embed.expect("a record");
    record.ingredients.version = 0;
    record.key = record.ingredients.key();
    // The corpus as it was, and embeddings of version 0.
    let workspace = Workspace::small();
    let yaml = workspace.read("small.yaml");
    workspace.write("corpus-only.yaml", before(&yaml, "tokenizer"));
    assert!(workspace.climb(&["run", "corpus-only.yaml"]).ok());
    let cache = Cache::open(&workspace.path(".climb"), "test").expect("opens");
    cache.commit(&record).expect("written");
    drop(cache);
    let ran = workspace.climb(&["explain", "small.yaml", "embed"]);
    expect(
        &ran.stdout,
        &["embed would run:\n    stage version 0 -> 1\n"],
    );
}

#[test]
fn json_names_every_ingredient() {
    let workspace = row();
    workspace.write("say.sh", "echo other");
    let text = explain(&workspace, &["--json", "--set", "params.n=2"]);
    let plan: Value = serde_json::from_str(&text).expect("JSON");
    let task = &plan["nodes"][0]["run"][0];
    assert_eq!(task["name"], "first");
    assert_eq!(task["reason"], "differs");
    let differences = serde_json::json!([
        {"differs": "param", "name": "params.n", "old": 1, "new": 2},
        {"differs": "sources", "group": "scripts",
         "files": {"added": [], "removed": [], "changed": ["say.sh"]}},
    ]);
    assert_eq!(task["differences"], differences);
    assert_eq!(plan["nodes"][1]["waits_for"], serde_json::json!(["first"]));
}

#[test]
fn an_unknown_stage_is_bad_input() {
    let workspace = row();
    let mut command = workspace.command(&["explain", "w.yaml", "secnod"]);
    let output = command.env("TOKEN", "secret-one").output().expect("starts");
    assert_eq!(output.status.code(), Some(2));
    let message = "there is no stage `secnod` in w.yaml: did you mean `second`?";
    expect(&String::from_utf8_lossy(&output.stderr), &[message]);
}

#[test]
fn the_help_says_what_it_is_for() {
    let help = Workspace::empty().climb(&["explain", "--help"]).stdout;
    let start = "\
Say why tasks would run: what differs from the time before

For every task that is not in the cache: which parameter, file, input, variable or stage version
differs from which earlier record. A differing input is followed upstream to its root. Nothing
is started.

Examples:
  climb explain search.yaml
  climb explain search.yaml cluster --set params.clusters=64

Usage: climb explain [OPTIONS] <FILE> [STAGE]
";
    assert!(help.starts_with(start), "{help}");
}
