//! Whatever a workflow, a program, a log or a name holds, a terminal is not made to obey it.

use crate::workspace::Workspace;

const ESCAPES: &str = r#"
name: esc
params: {p: "\e]0;owned\a\e[31mred\x7f\x9b31m"}
stages:
  x:
    uses: command
    description: "\e[31mred"
    with:
      params: {p: "${params.p}"}
      run: "printf '\\033]0;owned\\007\\033[2J\\302\\233x'; exit 1"
      outputs: {x: text}
"#;

/// Control characters, C1 as UTF-8 too, in what a command says.
fn obeyed(text: &str) -> Vec<char> {
    let control = |c: &char| c.is_control() && *c != '\n' && *c != '\t';
    text.chars().filter(control).collect()
}

#[test]
fn control_characters_never_reach_the_terminal() {
    let workspace = Workspace::empty();
    workspace.write("w.yaml", ESCAPES);
    workspace.write(
        "bad.yaml",
        ESCAPES.replace("uses: command", "uses: \"com\\emand\""),
    );
    workspace.write(
        "worse.yaml",
        "stages: {x: {uses: command, with: {run: \u{1b}[2J}}}\n",
    );
    workspace.write("\u{1b}[31mname.yaml", ESCAPES);
    let commands: [&[&str]; 20] = [
        &["check", "w.yaml"],
        &["check", "bad.yaml"],
        &["check", "worse.yaml"],
        &["check", "\u{1b}[31mname.yaml"],
        &["check", "\u{1b}[2J"],
        &["plan", "w.yaml"],
        &["plan", "w.yaml", "--json"],
        &["run", "w.yaml"],
        &["run", "w.yaml", "--json"],
        &["show"],
        &["log"],
        &["log", "--json"],
        &["log", "--task", "x"],
        &["status"],
        &["runs"],
        &["runs", "--json"],
        &["explain", "w.yaml", "x"],
        &["graph", "w.yaml"],
        &["resume"],
        &["get", "\u{1b}[2J", "-"],
    ];
    for args in commands {
        let ran = workspace.climb(args);
        for text in [&ran.stdout, &ran.stderr] {
            assert!(
                obeyed(text).is_empty(),
                "{args:?}: {:?}: {text}",
                obeyed(text)
            );
        }
    }
    // What was there can be seen, and the log's bytes be had.
    let log = workspace.climb(&["log", "--task", "x"]).stdout;
    assert!(
        log.contains(r"\u001b]0;owned\u0007\u001b[2J\u009bx"),
        "{log}"
    );
    let raw = workspace.climb(&["log", "--task", "x", "--raw"]).stdout;
    assert!(raw.contains("\u{1b}]0;owned\u{7}"), "{raw:?}");
    let json = workspace.climb(&["runs", "--json"]).stdout;
    let runs: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(
        runs[0]["params"]["p"],
        "\u{1b}]0;owned\u{7}\u{1b}[31mred\u{7f}\u{9b}31m"
    );
}
