//! What a command meets that is not in its key: programs, variables, files, modes. It is put there,
//! or said.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use crate::workspace::{Counts, Ran, Workspace};

/// Runs `w.yaml` with these variables on top.
fn run_with(workspace: &Workspace, variables: &[(&str, &str)]) -> Ran {
    let mut command = workspace.command(&["run", "w.yaml"]);
    command.envs(variables.iter().copied());
    Ran::from(command.output().expect("climb starts"))
}

/// What `w.yaml`'s stage `x` made in the latest run.
fn output(workspace: &Workspace) -> String {
    let got = workspace.climb(&["get", "x.x", "-"]);
    assert!(got.ok(), "{}", got.stderr);
    got.stdout
}

/// A program that prints `says`, in a folder of its own. Returns a PATH that begins there.
fn tool(workspace: &Workspace, folder: &str, says: &str) -> String {
    let path = workspace.write(
        &format!("{folder}/mytool"),
        format!("#!/bin/sh\necho {says}\n"),
    );
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).expect("made a program");
    let folder = workspace.path(folder);
    let rest = std::env::var("PATH").unwrap_or_default();
    format!("{}:{rest}", folder.display())
}

fn mytool_workflow(with: &str) -> String {
    format!(
        "stages:\n  x:\n    uses: command\n    with:\n      run: mytool > \"$CLIMB_OUTPUT_X\"\n      \
         outputs: {{x: text}}\n{with}"
    )
}

#[test]
fn another_program_of_the_path_is_pointed_out() {
    for run in [
        "mytool > \"$CLIMB_OUTPUT_X\"",
        "[sh, -c, \"mytool > $CLIMB_OUTPUT_X\"]",
        "[mytool, \"{output.x}\"]",
    ] {
        let workspace = Workspace::empty();
        let yaml = format!(
            "stages:\n  x:\n    uses: command\n    with:\n      run: {run}\n      \
             outputs: {{x: text}}\n"
        );
        workspace.write("w.yaml", yaml);
        let script = |says: &str| format!("{says}; echo {says} > \"${{1:-/dev/null}}\"");
        let (first, second) = (
            tool(&workspace, "v1", &script("one")),
            tool(&workspace, "v2", &script("two")),
        );
        let ran = run_with(&workspace, &[("PATH", &first)]);
        assert!(ran.ok(), "{}", ran.stderr);
        let again = run_with(&workspace, &[("PATH", &first)]);
        assert!(!again.stderr.contains("though"), "{}", again.stderr);
        let other = run_with(&workspace, &[("PATH", &second)]);
        let said = format!("{}{}", other.stdout, other.stderr);
        for part in ["v1/mytool", "v2/mytool", "`programs: [mytool]`"] {
            assert!(said.contains(part), "no {part} for {run} in:\n{said}");
        }
        let mut explain = workspace.command(&["explain", "w.yaml"]);
        let explain = Ran::from(explain.env("PATH", &second).output().expect("climb starts"));
        assert!(explain.stdout.contains("v2/mytool"), "{}", explain.stdout);
    }
}

#[test]
fn a_named_program_is_in_the_key() {
    let workspace = Workspace::empty();
    workspace.write("w.yaml", mytool_workflow("      programs: [mytool]\n"));
    let (first, second) = (tool(&workspace, "v1", "one"), tool(&workspace, "v2", "two"));
    // The same bytes in another place are the same program.
    let elsewhere = tool(&workspace, "v3", "one");
    for (path, says) in [(&first, "one\n"), (&second, "two\n"), (&elsewhere, "one\n")] {
        let ran = run_with(&workspace, &[("PATH", path)]);
        assert!(ran.ok(), "{}", ran.stderr);
        assert_eq!(output(&workspace), says);
        assert!(!ran.stderr.contains("though"), "{}", ran.stderr);
    }
    let missing = workspace.climb(&["check", "w.yaml"]);
    assert_eq!(missing.code, Some(2));
    let message = "there is no program `mytool` on the PATH";
    assert!(missing.stderr.contains(message), "{}", missing.stderr);
    let mut explain = workspace.command(&["explain", "w.yaml"]);
    let changed = tool(&workspace, "v4", "four");
    let explain = Ran::from(explain.env("PATH", changed).output().expect("climb starts"));
    assert!(
        explain.stdout.contains("programs: mytool changed"),
        "{}",
        explain.stdout
    );
}

#[test]
fn another_virtual_environment_is_pointed_out_or_in_the_key() {
    let workspace = Workspace::empty();
    let yaml = |passed: &str| {
        format!(
            "stages:\n  x:\n    uses: command\n    with:\n      \
             run: echo $VIRTUAL_ENV > \"$CLIMB_OUTPUT_X\"\n      {passed}outputs: {{x: text}}\n"
        )
    };
    workspace.write("w.yaml", yaml(""));
    assert!(run_with(&workspace, &[("VIRTUAL_ENV", "/venv1")]).ok());
    let other = run_with(&workspace, &[("VIRTUAL_ENV", "/venv2")]);
    let said = format!("{}{}", other.stdout, other.stderr);
    for part in ["/venv1", "/venv2", "`pass_env: [VIRTUAL_ENV]`"] {
        assert!(said.contains(part), "no {part} in:\n{said}");
    }
    workspace.write("w.yaml", yaml("pass_env: [VIRTUAL_ENV]\n      "));
    for venv in ["/venv1", "/venv2"] {
        assert!(run_with(&workspace, &[("VIRTUAL_ENV", venv)]).ok());
        assert_eq!(output(&workspace), format!("{venv}\n"));
    }
}

#[test]
fn a_file_of_the_project_that_is_no_script_is_warned_of() {
    let cases = [
        (
            "[python3, train.py]",
            "",
            "run[1]",
            "`train.py`",
            "scripts: [train.py]",
        ),
        (
            "[python3, -m, pkg.mod]",
            "",
            "run[2]",
            "`pkg/mod.py`",
            "scripts: [pkg/mod.py]",
        ),
        (
            "[python3, train.py, --config=conf.json]",
            "train.py",
            "run[2]",
            "`conf.json`",
            "scripts: [train.py, conf.json]",
        ),
        ("[./go.sh]", "", "run[0]", "`./go.sh`", "scripts: [./go.sh]"),
        (
            "python3 train.py > \"$CLIMB_OUTPUT_X\"",
            "",
            "run",
            "`train.py`",
            "scripts: [train.py]",
        ),
        (
            "cat < conf.json > \"$CLIMB_OUTPUT_X\"",
            "",
            "run",
            "`conf.json`",
            "scripts: [conf.json]",
        ),
        (
            "[bash, -c, \"python3 train.py\"]",
            "",
            "run[2]",
            "`train.py`",
            "scripts: [train.py]",
        ),
    ];
    let workspace = Workspace::empty();
    for file in ["train.py", "conf.json", "pkg/mod.py"] {
        workspace.write(file, "");
    }
    let script = workspace.write("go.sh", "#!/bin/sh\n");
    std::fs::set_permissions(script, PermissionsExt::from_mode(0o755)).expect("made a program");
    for (run, scripts, _, file, help) in cases {
        let yaml = format!(
            "stages:\n  x:\n    uses: command\n    with:\n      run: {run}\n      \
             scripts: [{scripts}]\n      outputs: {{x: text}}\n"
        );
        workspace.write("w.yaml", &yaml);
        let check = workspace.climb(&["check", "w.yaml"]);
        assert_eq!(check.code, Some(0), "{}", check.stderr);
        for part in [file, help, "w.yaml:5:"] {
            assert!(
                check.stderr.contains(part),
                "no {part} for {run} in:\n{}",
                check.stderr
            );
        }
        // The column is the argument's.
        let shown = file
            .trim_matches('`')
            .rsplit('/')
            .next()
            .expect("a name")
            .replace(".py", "");
        let column = yaml.lines().nth(4).and_then(|line| line.find(&shown));
        assert!(column.is_some(), "{run}");
    }
    for (run, scripts) in [
        ("[python3, train.py]", "train.py"),
        ("[python3, ./train.py]", "\"*.py\""),
        ("[python3, -m, pkg.mod]", "pkg"),
        (
            "echo train.py > conf.json; cp conf.json \"$CLIMB_OUTPUT_X\"",
            "conf.json",
        ),
        ("[python3, none.py]", ""),
    ] {
        let yaml = format!(
            "stages:\n  x:\n    uses: command\n    with:\n      run: {run}\n      \
             scripts: [{scripts}]\n      outputs: {{x: text}}\n"
        );
        workspace.write("w.yaml", yaml);
        let check = workspace.climb(&["check", "w.yaml"]);
        assert!(check.stdout.contains("fine"), "{run}: {}", check.stderr);
    }
}

#[test]
fn no_value_is_pasted_into_a_shell_line() {
    let workspace = Workspace::empty();
    let check = |run: &str| {
        let yaml = format!(
            "params: {{p: plain, words: [echo, hi]}}\nstages:\n  a:\n    repeat:\n      over: [1]\n      \
             as: n\n      stages:\n        x:\n          uses: command\n          with:\n            \
             run: {run}\n            env: {{UNUSED: \"${{params.p}} ${{params.words[0]}}\"}}\n            \
             outputs: {{x: text}}\n"
        );
        workspace.write("w.yaml", yaml);
        workspace.climb(&["check", "w.yaml"])
    };
    for (run, name) in [
        ("'echo ${params.p} > \"$CLIMB_OUTPUT_X\"'", "P"),
        ("'echo \"${params.words[0]}\"'", "WORDS"),
        ("echo ${env.HOME}", "HOME"),
        ("echo ${n}", "N"),
        ("echo ${iteration}", "ITERATION"),
        ("echo ${params.p == plain}", "P"),
        ("[bash, -euc, 'echo ${params.p}']", "P"),
        ("\"${params.p}\"", ""),
    ] {
        let refused = check(run);
        assert_eq!(refused.code, Some(2), "{run}");
        assert!(
            refused.stderr.contains("would be pasted"),
            "{run}: {}",
            refused.stderr
        );
        assert!(
            refused.stderr.contains("w.yaml:11:"),
            "{run}: {}",
            refused.stderr
        );
        let help = format!("$CLIMB_PARAM_{name}\\\" in the line").replace("\\\"", "\"");
        assert!(
            name.is_empty() || refused.stderr.contains(&help),
            "{}",
            refused.stderr
        );
    }
    for run in [
        "[echo, \"${params.p}\"]",
        "\"${params.words}\"",
        "[bash, -c, 'echo \"$1\"', x, \"${params.p}\"]",
        "'echo $${HOME} $HOME'",
    ] {
        let fine = check(run);
        assert_eq!(fine.code, Some(0), "{run}: {}", fine.stderr);
    }
    let shells_own = check("echo ${HOME}");
    assert_eq!(shells_own.code, Some(2));
    assert!(
        shells_own.stderr.contains("refers to nothing"),
        "{}",
        shells_own.stderr
    );
}

#[test]
fn a_variable_may_be_passed_on_without_being_in_the_key() {
    let workspace = Workspace::empty();
    let yaml = "stages:\n  x:\n    uses: command\n    with:\n      \
                run: test -n \"$TOKEN\"; echo \"$PLACE\" > \"$CLIMB_OUTPUT_X\"\n      \
                pass_env: [PLACE, {name: TOKEN, keyed: false}]\n      outputs: {x: text}\n";
    workspace.write("w.yaml", yaml);
    let run = |place: &str, token: &str| {
        let mut command = workspace.command(&["run", "w.yaml", "--json"]);
        command.env("PLACE", place).env("TOKEN", token);
        let ran = Ran::from(command.output().expect("climb starts"));
        assert!(ran.ok(), "{}\n{}", ran.stdout, ran.stderr);
        Counts::of(&ran.stdout).ran.len()
    };
    assert_eq!(run("here", "first-secret"), 1);
    assert_eq!(run("here", "second-secret"), 0, "a rotated token");
    assert_eq!(run("there", "second-secret"), 1);
    let mut grep = Command::new("grep");
    grep.args(["-ra", "-e", "first-secret", "-e", "second-secret", "."]);
    let found = grep
        .current_dir(workspace.path(""))
        .output()
        .expect("grep runs");
    assert_eq!(
        String::from_utf8_lossy(&found.stdout),
        "",
        "the value is written somewhere"
    );
}

#[test]
fn variables_that_are_not_utf8_reach_a_command_and_its_key() {
    use std::os::unix::ffi::OsStrExt;
    let workspace = Workspace::empty();
    let yaml = "stages:\n  x:\n    uses: command\n    with:\n      \
                run: printf %s \"$NAME\" > \"$CLIMB_OUTPUT_X\"\n      pass_env: [NAME]\n      \
                outputs: {x: text}\n";
    workspace.write("w.yaml", yaml);
    let run = |value: &[u8]| {
        let mut command = workspace.command(&["run", "w.yaml"]);
        command.env("NAME", std::ffi::OsStr::from_bytes(value));
        let ran = Ran::from(command.output().expect("climb starts"));
        assert!(ran.ok(), "{}", ran.stderr);
        let file = workspace.path("got");
        let _ = std::fs::remove_file(&file);
        assert!(workspace.climb(&["get", "x.x", "got"]).ok());
        std::fs::read(file).expect("readable")
    };
    assert_eq!(run(b"caf\xe9"), b"caf\xe9");
    assert_eq!(run(b"caf\xe8"), b"caf\xe8", "another value is another key");
    let yaml = "params: {n: \"${env.NAME:-nobody}\"}\nstages: {x: {uses: command, with: \
                {params: {n: \"${params.n}\"}, run: [touch, \"{output.x}\"], outputs: {x: text}}}}\n";
    workspace.write("w.yaml", yaml);
    let mut check = workspace.command(&["check", "w.yaml"]);
    check.env("NAME", std::ffi::OsStr::from_bytes(b"caf\xe9"));
    let check = Ran::from(check.output().expect("climb starts"));
    assert_eq!(check.code, Some(2));
    assert!(
        check.stderr.contains("`NAME` is not UTF-8"),
        "{}",
        check.stderr
    );
}

#[test]
fn what_python_and_editors_leave_among_scripts_reruns_nothing() {
    let workspace = Workspace::empty();
    workspace.write("pkg/mod.py", "x = 1\n");
    let yaml = |scripts: &str| {
        format!(
            "stages:\n  x:\n    uses: command\n    with:\n      run: cat pkg/mod.py > \
             \"$CLIMB_OUTPUT_X\"\n      scripts: [{scripts}]\n      outputs: {{x: text}}\n"
        )
    };
    workspace.write("w.yaml", yaml("pkg"));
    let ran = || {
        let ran = workspace.climb(&["run", "w.yaml", "--json"]);
        assert!(ran.ok(), "{}\n{}", ran.stdout, ran.stderr);
        Counts::of(&ran.stdout).ran.len()
    };
    assert_eq!(ran(), 1);
    for left in [
        "pkg/__pycache__/mod.cpython-311.pyc",
        "pkg/mod.pyc",
        "pkg/.ipynb_checkpoints/a.ipynb",
        "pkg/mod.py~",
        "pkg/.mod.py.swp",
        "pkg/#mod.py#",
        "pkg/deep/__pycache__/x.py",
    ] {
        workspace.write(left, "left behind");
        assert_eq!(ran(), 0, "{left} is no script");
    }
    workspace.write("pkg/other.py", "");
    assert_eq!(ran(), 1, "a file that counts");
    workspace.write("w.yaml", yaml("pkg, pkg/mod.pyc"));
    assert_eq!(ran(), 1, "named, it counts");
    workspace.write("pkg/mod.pyc", "changed");
    assert_eq!(ran(), 1);
}

#[test]
fn programs_and_empty_folders_in_an_output_stay_what_they_are() {
    let workspace = Workspace::empty();
    let build = "mkdir -p \"$CLIMB_OUTPUT_O/empty/deeper\" \"$CLIMB_OUTPUT_O/full\"; \
                 printf '#!/bin/sh\\necho ran\\n' > \"$CLIMB_OUTPUT_O/tool\"; \
                 { cat \"$CLIMB_OUTPUT_O/tool\"; seq -f '# %g' 9999; } > \"$CLIMB_OUTPUT_O/full/large\"; \
                 cp \"$CLIMB_OUTPUT_O/full/large\" \"$CLIMB_OUTPUT_O/full/plain\"; \
                 chmod +x \"$CLIMB_OUTPUT_O/tool\" \"$CLIMB_OUTPUT_O/full/large\"; \
                 cp \"$CLIMB_OUTPUT_O/full/large\" \"$CLIMB_OUTPUT_ONE\"";
    let use_it = "test -d \"$CLIMB_INPUT_X/empty/deeper\"; test ! -x \"$CLIMB_INPUT_X/full/plain\"; \
                  { \"$CLIMB_INPUT_X/tool\"; \"$CLIMB_INPUT_X/full/large\"; \"$CLIMB_INPUT_ONE\"; } \
                  > \"$CLIMB_OUTPUT_O\"";
    workspace.write("build.sh", build);
    workspace.write("use.sh", use_it);
    let yaml = "stages:\n  x:\n    uses: command\n    with: {run: [sh, -eu, build.sh], scripts: \
                [build.sh], outputs: {o: any, one: any}}\n  use:\n    uses: command\n    needs: {x: \
                x.o, one: x.one}\n    with: {run: [sh, -eu, use.sh], scripts: [use.sh], outputs: {o: any}}\n";
    workspace.write("w.yaml", yaml);
    let ran = workspace.climb(&["run", "w.yaml"]);
    assert!(ran.ok(), "{}\n{}", ran.stdout, ran.stderr);
    let got = workspace.climb(&["get", "use.o", "-"]);
    assert_eq!(got.stdout, "ran\nran\nran\n");

    // `get` and an archive keep them too.
    let check = |workspace: &Workspace| {
        assert!(workspace.climb(&["get", "x.o", "copy"]).ok());
        assert!(workspace.path("copy/empty/deeper").is_dir());
        let mode = |name: &str| {
            let meta = workspace.path(name).metadata().expect("it is there");
            meta.permissions().mode() & 0o111
        };
        assert_ne!(mode("copy/tool"), 0);
        assert_ne!(mode("copy/full/large"), 0);
        assert_eq!(mode("copy/full/plain"), 0);
        let verified = workspace.climb(&["cache", "verify"]);
        assert!(verified.ok(), "{}{}", verified.stdout, verified.stderr);
    };
    check(&workspace);
    let ids = workspace.climb(&["runs", "--json"]);
    assert!(ids.ok(), "{}", ids.stderr);
    let exported = workspace.climb(&["cache", "export", "--output", "all.tar.zst"]);
    assert!(exported.ok(), "{}", exported.stderr);
    let other = Workspace::empty();
    for file in ["w.yaml", "build.sh", "use.sh", "all.tar.zst"] {
        other.write(file, std::fs::read(workspace.path(file)).expect("readable"));
    }
    let imported = other.climb(&["cache", "import", "all.tar.zst"]);
    assert!(imported.ok(), "{}", imported.stderr);
    let again = other.climb(&["run", "w.yaml", "--json"]);
    assert!(Counts::of(&again.stdout).ran.is_empty(), "{}", again.stdout);
    check(&other);
    // What becomes of the bit is seen by the tasks behind: another mode is another input.
    other.write("build.sh", build.replace("chmod +x", "chmod -x"));
    let plain = other.climb(&["run", "w.yaml"]);
    assert_eq!(plain.code, Some(1), "{}", plain.stdout);
}

/// As in a shell.
#[test]
fn a_script_that_names_no_interpreter_is_the_shells() {
    let workspace = Workspace::empty();
    workspace.write("make.sh", "echo \"$1 made\" > \"$CLIMB_OUTPUT_TEXT\"\n");
    let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(workspace.path("make.sh"), executable).expect("set");
    workspace.write(
        "w.yaml",
        "stages:\n  x:\n    uses: command\n    with: {run: [./make.sh, well], scripts: [make.sh], outputs: {text: text}}\n",
    );
    let ran = workspace.climb(&["run", "w.yaml"]);
    assert!(ran.ok(), "{}", ran.stderr);
    assert_eq!(workspace.climb(&["get", "x", "-"]).stdout, "well made\n");
}
