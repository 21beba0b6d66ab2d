//! Writing workflows: `check`, `init`, `extends`, anchors, completions, man pages, and the texts of
//! these commands.

use serde_json::Value;

use crate::workspace::{Ran, Workspace};

#[track_caller]
fn says(ran: &Ran, code: i32, parts: &[&str]) {
    let all = format!("{}\n{}", ran.stdout, ran.stderr);
    assert_eq!(ran.code, Some(code), "\n{all}");
    for part in parts {
        assert!(all.contains(part), "no {part:?} in:\n{all}");
    }
}

#[test]
fn texts_are_as_they_were() {
    trycmd::TestCases::new()
        .register_bin("climb", std::path::Path::new(env!("CARGO_BIN_EXE_climb")))
        .env("NO_COLOR", "1")
        .case("tests/snapshots/authoring/*.trycmd");
}

#[test]
fn check_counts_what_is_fine_and_opens_no_cache() {
    let workspace = Workspace::small();
    let ran = workspace.climb(&["check", "small.yaml"]);
    says(&ran, 0, &["small: 19 stages, ", " tasks at least; fine"]);
    assert!(!workspace.path(".climb").exists());
    let ran = workspace.climb(&["check", "small.yaml", "--set", "params.clusters=0"]);
    says(&ran, 2, &["`k` must be at least 1, not 0", "1 error"]);
    assert!(!workspace.path(".climb").exists());
}

#[test]
fn check_says_errors_warnings_and_missing_files_at_once() {
    let workspace = Workspace::empty();
    let yaml = "params: {unused: 1}\nstages:\n  corpus: {uses: corpus, with: {paths: [nowhere]}}\n  \
                tokenize: {uses: tokenise, needs: {documents: corpus.documents}}\n";
    workspace.write("w.yaml", yaml);
    let ran = workspace.climb(&["check", "w.yaml"]);
    let parts = [
        "warning: parameter `unused` is not used",
        "`nowhere` matches no file",
        "unknown stage kind `tokenise`",
        "2 errors, 1 warning",
    ];
    says(&ran, 2, &parts);
    workspace.write(
        "nowhere/a.md",
        "Some text that is long enough to be a document of its own.",
    );
    workspace.write("w.yaml", yaml.replace("tokenise", "quality"));
    let ran = workspace.climb(&["check", "w.yaml"]);
    says(&ran, 0, &["2 stages, 2 tasks at least; 1 warning"]);
}

#[test]
fn a_workflow_that_extends_another_runs_as_if_written_out() {
    let workspace = Workspace::empty();
    workspace.write(
        "lib/base.yaml",
        "x-shell: &shell {uses: command, retries: 1}\nparams: {word: hello}\nstages:\n  a:\n    \
         <<: *shell\n    with: {run: 'echo \"$CLIMB_PARAM_WORD\" > \"$CLIMB_OUTPUT_T\"', params: \
         {word: \"${params.word}\"}, outputs: {t: text}}\n",
    );
    workspace.write(
        "w.yaml",
        "extends: lib/base.yaml\nparams: {word: world}\nstages:\n  b:\n    uses: command\n    \
         needs: {t: a}\n    with: {run: [cp, \"{input.t}\", \"{output.u}\"], outputs: {u: text}}\n",
    );
    let ran = workspace.climb(&["run", "w.yaml"]);
    says(&ran, 0, &[]);
    let digest = blake3::hash(b"world\n").to_hex().to_string();
    assert_eq!(
        workspace.artifacts()["b.u"]["file"]["digest"],
        digest.as_str()
    );
}

#[test]
fn an_alias_bomb_of_any_shape_is_refused_quickly() {
    let workspace = Workspace::empty();
    let wide = format!("x-a: &a [{}]\n", "x, ".repeat(100_000));
    let wide = wide + &format!("x-b: [{}]\n", "*a, ".repeat(100_000));
    let levels = |line: &dyn Fn(usize) -> String| -> String { (1..20_000).map(line).collect() };
    let deep = "x-0: &a0 [x]\n".to_string() + &levels(&|i| format!("x-{i}: &a{i} [*a{}]\n", i - 1));
    let merges = "x-0: &a0 {k: 1}\n".to_string()
        + &levels(&|i| format!("x-{i}: &a{i} {{<<: [*a{0}, *a{0}]}}\n", i - 1));
    for (text, message) in [
        (wide, "this makes more values than any workflow has"),
        (deep, "nested too deeply"),
        (merges, "this makes more values than any workflow has"),
    ] {
        workspace.write("w.yaml", text);
        let start = std::time::Instant::now();
        says(
            &workspace.climb(&["check", "w.yaml"]),
            2,
            &[message, "w.yaml:"],
        );
        assert!(start.elapsed().as_secs() < 20, "{message}");
    }
}

#[test]
fn init_writes_a_workflow_that_checks() {
    let workspace = Workspace::small();
    let args = [
        "init",
        "--corpus",
        "corpus/**/*",
        "--target",
        "corpus/docs/*.md",
    ];
    let ran = workspace.climb(&args);
    says(
        &ran,
        0,
        &["workflow.yaml: ", " files, text, about ", "; fine"],
    );
    let yaml = workspace.read("workflow.yaml");
    assert!(yaml.contains("target: [\"docs/*.md\"]"), "{yaml}");
    assert!(!yaml.contains("{{"), "{yaml}");
    says(
        &workspace.climb(&["check", "workflow.yaml"]),
        0,
        &["; fine"],
    );

    workspace.write("workflow.yaml", "my own");
    says(&workspace.climb(&args), 2, &["is there already", "--force"]);
    assert_eq!(workspace.read("workflow.yaml"), "my own");
    let forced: Vec<&str> = args.iter().copied().chain(["--force"]).collect();
    says(&workspace.climb(&forced), 0, &["; fine"]);
}

#[test]
fn init_finds_the_text_field_and_a_corpus_elsewhere() {
    let workspace = Workspace::empty();
    let line = |i: usize| {
        format!(
            "{{\"id\": \"{i:03}\", \"body\": \"{} {i:03}\"}}\n",
            "words ".repeat(40)
        )
    };
    workspace.write("data/a.jsonl", (0..500).map(line).collect::<String>());
    let ran = workspace.climb(&["init", "flows/w.yaml", "--corpus", "data/*.jsonl"]);
    says(&ran, 2, &["cannot write flows/w.yaml"]);
    workspace.write("flows/readme", "");
    let ran = workspace.climb(&["init", "flows/w.yaml", "--corpus", "data/*.jsonl"]);
    says(
        &ran,
        0,
        &[
            "1 file, JSONL, text in `body`, about 500 documents",
            "; fine",
        ],
    );
    let yaml = workspace.read("flows/w.yaml");
    assert!(yaml.contains("text_field: \"body\""), "{yaml}");
}

#[test]
fn init_says_what_it_cannot_use() {
    let workspace = Workspace::empty();
    workspace.write("data/a.jsonl", "{\"n\": 1}\n");
    let init = |extra: &[&str]| workspace.climb(&[&["init"], extra].concat());
    says(
        &init(&["--corpus", "nowhere/*"]),
        2,
        &["--corpus: `nowhere/*` matches no file"],
    );
    says(
        &init(&["--corpus", "data"]),
        2,
        &["--corpus: ", "a field with text"],
    );
    workspace.write("text/a.md", "some text");
    let ran = init(&["--corpus", "text", "--target", "*.rst"]);
    says(
        &ran,
        2,
        &["--target: `*.rst` matches no file of the corpus", "a.md"],
    );
    assert!(!workspace.path("workflow.yaml").exists());
}

/// Texts as Windows' editors save them, and so few that by chance none would be held out.
#[test]
fn init_of_a_few_small_texts_gives_a_workflow_that_has_a_target() {
    let workspace = Workspace::empty();
    let text = |i: usize| format!("Text {i}: {}\n", format!("some words of {i}. ").repeat(20));
    let marked = |i: usize| [b"\xef\xbb\xbf", text(i).as_bytes()].concat();
    let utf16 = |i: usize| -> Vec<u8> {
        let units = text(i)
            .encode_utf16()
            .flat_map(u16::to_le_bytes)
            .collect::<Vec<u8>>();
        [&b"\xff\xfe"[..], &units].concat()
    };
    for (folder, bytes) in [("one", marked(0)), ("wide", utf16(0))] {
        workspace.write(&format!("{folder}/a.txt"), bytes);
        let ran = workspace.climb(&["init", "--corpus", folder]);
        says(
            &ran,
            2,
            &[
                "--corpus: ",
                "a single document cannot be shared out",
                "give it more files",
            ],
        );
        assert!(!workspace.path("workflow.yaml").exists());
    }
    for i in 0..4 {
        let bytes = if i % 2 == 0 { marked(i) } else { utf16(i) };
        workspace.write(&format!("four/{i}.txt"), bytes);
    }
    let ran = workspace.climb(&["init", "--corpus", "four"]);
    says(&ran, 0, &["4 files, text, about 4 documents", "; fine"]);
    // No encoder is needed to see what is held out.
    let yaml = workspace.read("workflow.yaml");
    let corpus = yaml.split("\n  tokenize:").next().expect("stages");
    workspace.write("corpus.yaml", corpus);
    says(&workspace.climb(&["run", "corpus.yaml"]), 0, &[]);
    let got = workspace.climb(&["get", "corpus.heldout", "held"]);
    says(&got, 0, &[]);
    let held: Value = serde_json::from_str(&workspace.read("held/report.json")).expect("JSON");
    let held = held["documents"].as_u64().expect("a count");
    assert!((1..4).contains(&held), "{held} held out");
}

#[test]
fn completions_and_man_pages_name_every_command() {
    let workspace = Workspace::empty();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        says(
            &workspace.climb(&["completions", shell]),
            0,
            &["check", "init", "stages"],
        );
    }
    says(
        &workspace.climb(&["man"]),
        0,
        &[".TH climb 1", "climb\\-check"],
    );
    says(&workspace.climb(&["man", "--output", "man1"]), 0, &[]);
    for page in ["climb.1", "climb-run.1", "climb-check.1", "climb-init.1"] {
        assert!(
            workspace.read(&format!("man1/{page}")).contains(".TH"),
            "{page}"
        );
    }
}

#[test]
fn kinds_are_documented_as_data_too() {
    let workspace = Workspace::empty();
    let ran = workspace.climb(&["stages", "kmeans", "--json"]);
    let doc: Value = serde_json::from_str(&ran.stdout).expect("JSON");
    let params = doc["params"].as_array().expect("a list");
    let k = params.iter().find(|param| param["name"] == "k").expect("k");
    assert_eq!(
        (&k["type"], &k["default"]),
        (&"integer, at least 1".into(), &1000.into())
    );
    let ran = workspace.climb(&["stages"]);
    assert!(ran.stdout.lines().all(|line| line.chars().count() <= 80));
}
