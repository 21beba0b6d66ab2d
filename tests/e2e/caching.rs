//! What reruns after a change, and what does not: counted in tasks.

use crate::workspace::Workspace;

/// Stages that do not depend on the clusters.
const BEFORE_CLUSTERS: [&str; 6] = [
    "corpus",
    "embed",
    "tokenizer",
    "tokenize",
    "tokenize-target",
    "quality",
];

#[test]
fn a_second_run_runs_nothing() {
    let workspace = Workspace::warm();
    let counts = workspace.run_small(&[]);
    assert!(counts.ran.is_empty(), "{:?}", counts.ran);
    assert!(counts.cached.len() > 30, "{:?}", counts.cached);
}

#[test]
fn white_space_and_comments_rerun_nothing() {
    let workspace = Workspace::warm();
    let text = workspace.read("small.yaml");
    workspace.write(
        "small.yaml",
        format!("# a comment\n\n{}\n\n# the end\n", text),
    );
    assert!(workspace.run_small(&[]).ran.is_empty());
}

#[test]
fn another_cluster_count_keeps_what_does_not_depend_on_it() {
    let workspace = Workspace::warm();
    let counts = workspace.run_small(&["--set", "params.clusters=6"]);
    for stage in BEFORE_CLUSTERS {
        assert_eq!(counts.ran_of(stage), 0, "{stage} reran");
    }
    for stage in ["cluster", "merge", "pack"] {
        assert_eq!(counts.ran_of(stage), 1, "{stage} did not rerun");
    }
    assert_eq!(counts.ran_of("search[1].train"), 4);
}

#[test]
fn more_runs_train_only_the_new_ones() {
    let workspace = Workspace::warm();
    let counts = workspace.run_small(&["--set", "params.runs=[6, 2]"]);
    for stage in BEFORE_CLUSTERS
        .into_iter()
        .chain(["cluster", "prune", "merge", "pack"])
    {
        assert_eq!(counts.ran_of(stage), 0, "{stage} reran");
    }
    assert_eq!(counts.ran_of("search[1].sample"), 1);
    assert_eq!(counts.ran_of("search[1].train"), 2);
    assert_eq!(counts.ran_of("search[1].evaluate"), 2);
    assert_eq!(counts.ran_of("search[1].fit"), 1);
}

#[test]
fn another_proxy_reruns_nothing_before_training() {
    let workspace = Workspace::warm();
    let proxy = "params.proxy={layers: 2, width: 16, heads: 2}";
    let counts = workspace.run_small(&["--set", proxy]);
    for stage in BEFORE_CLUSTERS
        .into_iter()
        .chain(["cluster", "merge", "pack"])
    {
        assert_eq!(counts.ran_of(stage), 0, "{stage} reran");
    }
    assert_eq!(counts.ran_of("search[1].sample"), 0);
    assert_eq!(counts.ran_of("search[1].train"), 4);
}

#[test]
fn the_same_bytes_stop_the_rerun_early() {
    let workspace = Workspace::warm();
    // Another threshold that drops the same clusters: `prune` runs, what follows does not.
    let counts = workspace.run_small(&["--set", "params.threshold=0.051"]);
    assert_eq!(counts.ran.iter().collect::<Vec<_>>(), ["prune"]);
}

#[test]
fn a_touched_file_reruns_nothing_and_a_changed_one_does() {
    let workspace = Workspace::warm();
    let file = "corpus/engine/workflow/src/graph.rs";
    let text = workspace.read(file);
    workspace.write(file, &text);
    assert!(workspace.run_small(&[]).ran.is_empty());
    workspace.write(file, text.replace("axis", "axes"));
    assert_eq!(workspace.run_small(&[]).ran_of("corpus"), 1);
}

#[test]
fn going_back_finds_everything_again() {
    let workspace = Workspace::warm();
    assert!(
        !workspace
            .run_small(&["--set", "params.documents=110"])
            .ran
            .is_empty()
    );
    assert!(workspace.run_small(&[]).ran.is_empty());
}

#[test]
fn a_damaged_object_is_set_aside_and_made_again() {
    let workspace = Workspace::warm();
    let before = workspace.artifacts();
    let embeddings = &before["embed.embeddings"]["folder"]["matrix.f32"];
    let digest = embeddings["digest"].as_str().expect("a digest");
    let object = workspace.path(&format!(".climb/objects/{}/{}", &digest[..2], &digest[2..]));
    let mut bytes = std::fs::read(&object).expect("the object");
    bytes[100] ^= 1;
    std::fs::remove_file(&object).expect("removed");
    std::fs::write(&object, bytes).expect("written");

    // The damage shows when somebody reads the object: another k-means does.
    let counts = workspace.run_small(&["--set", "params.clusters=6"]);
    assert_eq!(counts.ran_of("embed"), 1, "{:?}", counts.ran);
    assert!(workspace.run_small(&[]).ran.is_empty());
    assert_eq!(workspace.artifacts(), before);
}

#[test]
fn plan_tells_what_run_will_do() {
    let workspace = Workspace::warm();
    let plan = workspace.climb(&["plan", "small.yaml"]);
    assert!(plan.ok(), "{}", plan.stderr);
    assert!(
        plan.stdout.ends_with(" tasks cached, 0 to run\n"),
        "{}",
        plan.stdout
    );

    let plan = workspace.climb(&["plan", "small.yaml", "--set", "params.clusters=6"]);
    assert!(plan.stdout.contains("because: k 8 -> 6"), "{}", plan.stdout);
    assert!(
        plan.stdout.contains("1 to run; the rest is not known yet"),
        "{}",
        plan.stdout
    );
}
