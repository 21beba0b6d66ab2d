//! Commands with more to be told than a command line takes, and names that no file or variable has.

use crate::workspace::{Ran, Workspace};

fn write_command(workspace: &Workspace, with: &str) {
    let yaml =
        format!("stages:\n  x:\n    uses: command\n    with:\n{with}      outputs: {{x: text}}\n");
    workspace.write("w.yaml", yaml);
}

fn run(workspace: &Workspace) -> Ran {
    workspace.climb(&["run", "w.yaml"])
}

#[test]
fn a_parameter_of_any_length_reaches_a_command_by_file() {
    let workspace = Workspace::empty();
    let big = "x".repeat(1_000_000);
    for run_line in [
        "cat \"$CLIMB_FILE_PARAM_P\" > \"$CLIMB_OUTPUT_X\"",
        "[cp, \"{file.param.p}\", \"{output.x}\"]",
        "python3 -c 'import json,os; print(json.load(open(os.environ[\"CLIMB_TASK\"]))[\"params\"]\
         [\"p\"], end=\"\")' > \"$CLIMB_OUTPUT_X\"",
    ] {
        write_command(
            &workspace,
            &format!("      run: {run_line}\n      params: {{p: {big}}}\n"),
        );
        let check = workspace.climb(&["check", "w.yaml"]);
        assert!(
            check.stdout.contains("fine"),
            "{run_line}: {}",
            check.stderr
        );
        let ran = run(&workspace);
        assert!(ran.ok(), "{}{}", ran.stdout, ran.stderr);
        assert_eq!(workspace.climb(&["get", "x.x", "-"]).stdout, big);
    }
}

#[test]
fn what_cannot_be_told_by_variable_or_argument_is_found_by_check() {
    let workspace = Workspace::empty();
    let big = "x".repeat(200_000);
    for (with, says) in [
        (
            format!("      run: printf %s \"$CLIMB_PARAM_P\"\n      params: {{p: {big}}}\n"),
            "$CLIMB_FILE_PARAM_P",
        ),
        (
            format!("      run: 'echo ${{#CLIMB_PARAM_P}}'\n      params: {{p: {big}}}\n")
                .replace("${#", "$${#"),
            "$CLIMB_FILE_PARAM_P",
        ),
        (
            format!("      run: [echo, \"a{{param.p}}\"]\n      params: {{p: {big}}}\n"),
            "{file.param.NAME}",
        ),
        (format!("      run: [echo, {big}]\n"), "at most 131072"),
        (
            format!("      run: \"true {big}\"\n"),
            "put it into a script",
        ),
        (
            format!("      run: [\"true\"]\n      env: {{LONG: {big}}}\n"),
            "$LONG of 200000 bytes",
        ),
        (
            "      run: [\"true\"]\n      env: {LONG: \"a\\0b\"}\n".into(),
            "no NUL",
        ),
        (
            "      run: [\"true\"]\n      env: {\"A=B\": x}\n".into(),
            "no variable's name",
        ),
    ] {
        write_command(&workspace, &with);
        let check = workspace.climb(&["check", "w.yaml"]);
        let short: String = with.chars().take(80).collect();
        assert_eq!(check.code, Some(2), "{short}: {}", check.stdout);
        assert!(check.stderr.contains(says), "no {says} for {short}");
    }
    // A script may read the file or not; nobody knows.
    workspace.write("a.py", "");
    let with =
        format!("      run: [python3, a.py]\n      scripts: [a.py]\n      params: {{p: {big}}}\n");
    write_command(&workspace, &with);
    let check = workspace.climb(&["check", "w.yaml"]);
    assert_eq!(check.code, Some(0));
    assert!(
        check.stderr.contains("warning: `p` has 200000 bytes"),
        "{}",
        check.stderr
    );
}

/// A fan-out of `n` items and a command that gathers them.
fn gathering(n: usize, gather: &str) -> String {
    format!(
        r#"
stages:
  clusters:
    uses: command
    with:
      run: cp clusters.json "$CLIMB_OUTPUT_C"
      scripts: [clusters.json]
      outputs: {{c: clusters}}
  first: {{uses: mixture, needs: {{clusters: clusters}}}}
  many:
    uses: baselines
    needs: {{clusters: clusters, mixture: first}}
    with: {{seeds: {n}, include: []}}
  each:
    uses: baselines
    foreach: {{mixture: many.mixtures}}
    needs: {{clusters: clusters}}
    with: {{seeds: 1, include: []}}
  x:
    uses: command
    needs: {{x: all.each.contenders}}
    with:
      run: {gather}
      outputs: {{x: text}}
"#
    )
}

const CLUSTERS: &str = r#"{"clusters":[{"id":0,"documents":1,"tokens":1,"share":1.0,"terms":[],"typical":[],"members":[0]}],"dropped_tokens":0,"dropped_documents":0}"#;

#[test]
fn a_fan_out_of_any_size_is_gathered_by_file() {
    let workspace = Workspace::empty();
    workspace.write("clusters.json", CLUSTERS);
    let n = 1_700;
    for (gather, fine) in [
        (
            "grep -c . \"$CLIMB_FILE_INPUT_X\" > \"$CLIMB_OUTPUT_X\"",
            true,
        ),
        ("[grep, -c, ., \"{file.input.x}\"]", true),
        ("test -n \"$CLIMB_INPUT_X\"", false),
    ] {
        workspace.write("w.yaml", gathering(n, gather));
        let check = workspace.climb(&["check", "w.yaml"]);
        assert_eq!(
            check.code,
            Some(if fine { 0 } else { 2 }),
            "{gather}: {}",
            check.stderr
        );
        assert!(
            fine || check.stderr.contains("$CLIMB_FILE_INPUT_X"),
            "{}",
            check.stderr
        );
    }
    workspace.write(
        "w.yaml",
        gathering(n, "grep -c . \"$CLIMB_FILE_INPUT_X\" > \"$CLIMB_OUTPUT_X\""),
    );
    let ran = run(&workspace);
    assert!(ran.ok(), "{}{}", ran.stdout, ran.stderr);
    assert_eq!(
        workspace.climb(&["get", "x.x", "-"]).stdout,
        format!("{n}\n")
    );
    // A shell line that gets at the variable in a way that cannot be told: the error says it.
    let hidden = "eval \"test -n \\\"\\$CLIMB_INPUT\"_X\\\"";
    workspace.write("w.yaml", gathering(n, &format!("'{hidden}'")));
    let ran = run(&workspace);
    assert_eq!(ran.code, Some(1));
    let said = format!("{}{}", ran.stdout, ran.stderr);
    assert!(said.contains("$CLIMB_INPUT_X is not set"), "{said}");
}

#[test]
fn names_that_become_the_same_variable_are_refused_with_both_places() {
    let workspace = Workspace::empty();
    let base = "    uses: command\n    with:\n      run: touch \"$CLIMB_OUTPUT_X\"\n      outputs: {x: text}\n";
    let cases = [
        ("      params: {a-b: 1, a_b: 2}\n", "$CLIMB_PARAM_A_B"),
        ("      params: {lr: 1, LR: 2}\n", "$CLIMB_PARAM_LR"),
        (
            "      inputs: {p-q: {optional: true}, p_q: {optional: true}}\n",
            "$CLIMB_INPUT_P_Q",
        ),
        (
            "      env: {CLIMB_OUTPUT_X: here}\n",
            "climb sets $CLIMB_OUTPUT_X",
        ),
        ("      env: {CLIMB_TASK: here}\n", "climb sets $CLIMB_TASK"),
        (
            "      pass_env: [HOME]\n      env: {HOME: /x}\n",
            "`HOME` is passed on, and set under `env`",
        ),
        (
            "      pass_env: [HOME, {name: HOME, keyed: false}]\n",
            "`HOME` is here twice",
        ),
    ];
    for (with, says) in cases {
        workspace.write("w.yaml", format!("stages:\n  x:\n{base}{with}"));
        let check = workspace.climb(&["check", "w.yaml"]);
        assert_eq!(check.code, Some(2), "{with}: {}", check.stdout);
        assert!(check.stderr.contains(says), "{with}: {}", check.stderr);
        let both = !says.starts_with("climb sets");
        assert!(
            !both || check.stderr.contains("the other is at w.yaml:"),
            "{}",
            check.stderr
        );
    }
    let wired = "stages:\n  y: {uses: command, with: {run: [touch, \"{output.y}\"], outputs: {y: text}}}\n  \
                 x:\n    needs: {a-b: y, a_b: y}\n";
    workspace.write("w.yaml", format!("{wired}{base}"));
    let check = workspace.climb(&["check", "w.yaml"]);
    assert!(
        check.stderr.contains("$CLIMB_INPUT_A_B"),
        "{}",
        check.stderr
    );
    assert!(
        check.stderr.contains("the other is at w.yaml:4:"),
        "{}",
        check.stderr
    );
    workspace.write(
        "w.yaml",
        format!("stages:\n  x:\n{base}      env: {{CLIMB_CACHE: elsewhere}}\n"),
    );
    let fine = workspace.climb(&["check", "w.yaml"]);
    assert_eq!(fine.code, Some(0), "{}", fine.stderr);
}

#[test]
fn names_too_long_for_a_file_are_refused() {
    let workspace = Workspace::empty();
    let long = "n".repeat(260);
    for yaml in [
        format!(
            "stages:\n  {long}: {{uses: command, with: {{run: [\"true\"], outputs: {{x: text}}}}}}\n"
        ),
        format!(
            "stages:\n  x: {{uses: command, with: {{run: [\"true\"], outputs: {{{long}: text}}}}}}\n"
        ),
        format!(
            "stages:\n  x: {{uses: command, with: {{run: [\"true\"], params: {{{long}: 1}}, \
             outputs: {{x: text}}}}}}\n"
        ),
        format!(
            "stages:\n  r:\n    repeat:\n      over: 2\n      stages:\n        {}: {{uses: command, \
             with: {{run: [\"true\"], outputs: {{x: text}}}}}}\n",
            &long[..250]
        ),
    ] {
        workspace.write("w.yaml", &yaml);
        let check = workspace.climb(&["check", "w.yaml"]);
        assert_eq!(check.code, Some(2), "{}", check.stdout);
        assert!(check.stderr.contains("at most"), "{}", check.stderr);
        assert!(check.stderr.contains("w.yaml:"), "{}", check.stderr);
    }
    let fits = "n".repeat(150);
    workspace.write(
        "w.yaml",
        format!(
            "stages:\n  {fits}: {{uses: command, with: {{run: [touch, \"{{output.{fits}}}\"], \
             outputs: {{{fits}: text}}}}}}\n"
        ),
    );
    let ran = run(&workspace);
    assert!(ran.ok(), "{}{}", ran.stdout, ran.stderr);
}

#[test]
fn placeholders_are_checked_before_anything_runs() {
    let workspace = Workspace::empty();
    for (argument, says) in [
        ("{output.y}", "`{output.y}` names nothing"),
        ("{param.p}", "`{param.p}` names nothing"),
        ("{input.x}", "`{input.x}` names nothing"),
        ("{file.input.x}", "`{file.input.x}` names nothing"),
        ("{thread}", "`{thread}` names nothing"),
        ("a}b", "lone brace"),
    ] {
        write_command(&workspace, &format!("      run: [echo, \"{argument}\"]\n"));
        let check = workspace.climb(&["check", "w.yaml"]);
        assert_eq!(check.code, Some(2), "{argument}: {}", check.stdout);
        assert!(check.stderr.contains(says), "{argument}: {}", check.stderr);
        assert!(
            check.stderr.contains("w.yaml:5:19"),
            "{argument}: {}",
            check.stderr
        );
    }
}
