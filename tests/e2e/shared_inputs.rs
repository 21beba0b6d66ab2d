//! What tasks do to their inputs and to the files they read: nothing wrong is recorded, and who did it
//! is told.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::workspace::{Counts, Ran, Workspace};

#[derive(Clone, Copy, Debug, PartialEq)]
enum User {
    Whoever,
    Plain,
}

fn climb(workspace: &Workspace, user: User, args: &[&str]) -> Ran {
    let mut command = match user {
        User::Whoever => workspace.command(args),
        User::Plain => workspace.plain(args),
    };
    Ran::from(command.output().expect("climb starts"))
}

/// What a task of the latest run made.
fn got(workspace: &Workspace, output: &str) -> String {
    let ran = workspace.climb(&["get", output, "-"]);
    assert!(ran.ok(), "{}", ran.stderr);
    ran.stdout
}

fn assert_verified(workspace: &Workspace) {
    let ran = workspace.climb(&["cache", "verify"]);
    assert!(ran.ok(), "{}\n{}", ran.stdout, ran.stderr);
}

/// `bad` changes the input while `victim` has it: each waits for the other, once. `victim` keeps what
/// it read in its state, as a stage that can go on would.
fn shared(change: &str) -> String {
    r#"
stages:
  x:
    uses: command
    with:
      run: |
        mkdir "$CLIMB_OUTPUT_X"
        yes good | head -c 100000 > "$CLIMB_OUTPUT_X/large"
        echo good > "$CLIMB_OUTPUT_X/small"
      outputs: {x: text}
  bad:
    uses: command
    needs: {x: x}
    with:
      run: |
        while ! test -e reading; do sleep 0.05; done
        cd "$CLIMB_INPUT_X"
        CHANGE
        cd "$OLDPWD"
        touch changed
        echo done > "$CLIMB_OUTPUT_Y"
      outputs: {y: text}
  victim:
    uses: command
    needs: {x: x}
    with:
      run: |
        touch reading
        while ! test -e changed; do sleep 0.05; done
        if ! test -e "$CLIMB_STATE/read"; then cat "$CLIMB_INPUT_X"/* > "$CLIMB_STATE/read"; fi
        sort -u "$CLIMB_STATE/read" > "$CLIMB_OUTPUT_Y"
      outputs: {y: text}
"#
    .replace("CHANGE", change)
}

#[test]
fn a_task_that_changes_its_input_fails_and_nothing_that_read_it_is_recorded() {
    let cases = [
        (User::Plain, "large", "chmod u+w large; echo evil >> large"),
        (
            User::Plain,
            "small",
            "chmod u+w small; printf evil | dd of=small conv=notrunc",
        ),
        (
            User::Plain,
            "large",
            "chmod u+w . large; sed -i s/good/evil/ large",
        ),
        (
            User::Whoever,
            "small",
            "chmod u+w .; sed -i s/good/evil/ small",
        ),
        // Put back before anybody looks.
        (
            User::Whoever,
            "large",
            r#"chmod u+w large; cp large "$OLDPWD/keep"; echo evil >> large; touch "$OLDPWD/changed"; cat "$OLDPWD/keep" > large"#,
        ),
    ];
    for (user, name, change) in cases {
        let workspace = Workspace::empty();
        workspace.write("w.yaml", shared(change));
        let ran = climb(
            &workspace,
            user,
            &["run", "w.yaml", "--jobs", "2", "--keep-going"],
        );
        assert_eq!(ran.code, Some(1), "{change}:\n{}", ran.stderr);
        let says = format!("it changed its input `x` (`{name}`)");
        assert!(ran.stderr.contains(&says), "{change}:\n{}", ran.stderr);
        assert!(
            !ran.stderr.contains("is damaged"),
            "{change}:\n{}",
            ran.stderr
        );
        // The other one had it again, as it should be.
        assert_eq!(got(&workspace, "victim.y"), "good\n", "{change}");
        let again = climb(
            &workspace,
            user,
            &["run", "w.yaml", "--keep-going", "--json"],
        );
        assert!(
            !Counts::of(&again.stdout).cached.contains("bad"),
            "{change}"
        );
        assert_verified(&workspace);
    }
}

#[test]
fn what_comes_and_goes_in_an_input_is_read_by_nobody() {
    let wait = r#"touch "$OLDPWD/changed"; while ! test -e "$OLDPWD/read"; do sleep 0.05; done"#;
    let keeping = r#"cat "$CLIMB_INPUT_X"/* > "$CLIMB_STATE/read"; touch read; fi"#;
    let cases = [
        (
            User::Whoever,
            format!("echo evil > passing; {wait}; rm passing"),
        ),
        (
            User::Plain,
            format!("chmod u+w .; echo evil > passing; {wait}; rm passing; chmod a-w ."),
        ),
        (
            User::Plain,
            format!("chmod u+w .; mv small away; echo evil > small; {wait}; mv -f away small"),
        ),
    ];
    for (user, change) in cases {
        let workspace = Workspace::empty();
        let yaml = shared(&change);
        let yaml = yaml.replace(
            r#"cat "$CLIMB_INPUT_X"/* > "$CLIMB_STATE/read"; fi"#,
            keeping,
        );
        assert!(yaml.contains("touch read;"), "{yaml}");
        workspace.write("w.yaml", yaml);
        let ran = climb(&workspace, user, &["run", "w.yaml", "--jobs", "2"]);
        assert!(ran.ok(), "{change}:\n{}", ran.stderr);
        assert_eq!(
            got(&workspace, "victim.y"),
            "good\n",
            "{change}:\n{}",
            ran.stderr
        );
        assert_verified(&workspace);
    }
}

/// With its times, as `cp -p` and `touch -r` do: nobody can say that it was not read in between.
#[test]
fn what_is_put_back_with_its_times_is_read_by_nobody() {
    let wait = r#"touch "$OLDPWD/changed"; while ! test -e "$OLDPWD/read"; do sleep 0.05; done"#;
    // It ends after it is put back, so that its times are all that could tell.
    let keeping = r#"cat "$CLIMB_INPUT_X"/* > "$CLIMB_STATE/read"; touch read; while ! test -e back; do sleep 0.05; done; fi"#;
    // In place, and not the mode alone is left of it.
    let change = |name: &str, back: &str| {
        format!(
            r#"cp -pf {name} "$OLDPWD/keep"; chmod u+w {name}; sed s/good/evil/ "$OLDPWD/keep" > {name}; {wait}; {back}; touch "$OLDPWD/back""#
        )
    };
    let cp = r#"cp -p "$OLDPWD/keep" NAME"#;
    let touch = r#"cat "$OLDPWD/keep" > NAME; touch -r "$OLDPWD/keep" NAME"#;
    let cases = [
        (User::Plain, "large", cp.to_string()),
        (User::Plain, "large", format!("{touch}; chmod u-w NAME")),
        (User::Whoever, "large", format!("{touch}; chmod u-w NAME")),
        (User::Plain, "small", cp.to_string()),
        (User::Plain, "small", format!("{touch}; chmod u-w NAME")),
    ];
    for (user, name, back) in cases {
        let change = change(name, &back.replace("NAME", name));
        let workspace = Workspace::empty();
        let yaml = shared(&change).replace(
            r#"cat "$CLIMB_INPUT_X"/* > "$CLIMB_STATE/read"; fi"#,
            keeping,
        );
        assert!(yaml.contains("touch read;"), "{yaml}");
        workspace.write("w.yaml", yaml);
        let ran = climb(&workspace, user, &["run", "w.yaml", "--jobs", "2"]);
        assert!(ran.ok(), "{change}:\n{}", ran.stderr);
        let told = ran.stderr.contains("may have been written to and put back");
        assert!(told, "{change}:\n{}", ran.stderr);
        let read = got(&workspace, "victim.y");
        assert_eq!(read, "good\n", "{change}:\n{}", ran.stderr);
        assert_verified(&workspace);
    }
}

#[test]
fn who_fails_may_have_changed_its_input_too() {
    let workspace = Workspace::empty();
    let yaml = shared("chmod u+w large; echo evil >> large; exit 3");
    workspace.write("w.yaml", &yaml);
    workspace.write("reading", "");
    let ran = climb(&workspace, User::Plain, &["run", "w.yaml", "--jobs", "1"]);
    assert_eq!(ran.code, Some(1), "{}", ran.stderr);
    assert!(
        ran.stderr.contains("it changed its input `x` (`large`)"),
        "{}",
        ran.stderr
    );
    assert!(ran.stderr.contains("exit code 3"), "{}", ran.stderr);
}

#[test]
fn what_a_task_leaves_in_its_input_is_seen_by_no_other() {
    let text = r#"
stages:
  x: {uses: command, with: {run: 'mkdir "$CLIMB_OUTPUT_X"; echo a > "$CLIMB_OUTPUT_X/a.txt"', outputs: {x: text}}}
  leaves:
    uses: command
    needs: {x: x}
    with:
      run: |
        mkdir -p "$CLIMB_INPUT_X/deep/.cache" || true
        echo more > "$CLIMB_INPUT_X/more.txt" || true
        echo done > "$CLIMB_OUTPUT_Y"
      outputs: {y: text}
  reads:
    uses: command
    needs: {x: x, after: leaves}
    with: {run: 'cd "$CLIMB_INPUT_X"; find . | sort > "$CLIMB_OUTPUT_Y"', outputs: {y: text}}
"#;
    for user in [User::Whoever, User::Plain] {
        let workspace = Workspace::empty();
        workspace.write("w.yaml", text);
        let ran = climb(&workspace, user, &["run", "w.yaml"]);
        assert!(ran.ok(), "{}", ran.stderr);
        assert_eq!(got(&workspace, "reads.y"), ".\n./a.txt\n");
        // SAFETY: a plain system call.
        let may_all = user == User::Whoever && unsafe { libc::geteuid() } == 0;
        let told = ran
            .stderr
            .contains("it wrote into the folder of its input `x`");
        assert_eq!(told, may_all, "{user:?}: {}", ran.stderr);
        // Nor in the next process.
        workspace.write("w.yaml", text.replace("find .", "find . -print"));
        let ran = climb(&workspace, user, &["run", "w.yaml"]);
        assert!(ran.ok(), "{}", ran.stderr);
        assert_eq!(got(&workspace, "reads.y"), ".\n./a.txt\n");
        // Whoever owns it can remove it as anything else.
        let removed = Command::new("rm")
            .arg("-r")
            .arg(workspace.path(".climb"))
            .status();
        assert!(removed.expect("rm runs").success());
    }
}

/// A file system without hard links, for what this environment is given to.
fn without_links() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let (source, library) = (folder.join("nolinks.c"), folder.join("nolinks.so"));
    let text = "#include <errno.h>\n\
        int link(const char *a, const char *b) { errno = EPERM; return -1; }\n\
        int linkat(int a, const char *b, int c, const char *d, int e) { errno = EPERM; return -1; }\n";
    std::fs::write(&source, text).expect("written");
    let compiled = Command::new("cc")
        .args(["-shared", "-fPIC", "-w", "-o"])
        .args([&library, &source])
        .status();
    assert!(compiled.expect("cc is there").success());
    library
}

/// Tasks that start at once, with a folder of 300 files, large and small, in folders, in common. Each
/// tells what it sees at first and a while later.
const CROWD: &str = r#"
stages:
  x:
    uses: command
    with:
      run: |
        mkdir -p "$CLIMB_OUTPUT_X/a/b" "$CLIMB_OUTPUT_X/c"
        cd "$CLIMB_OUTPUT_X"
        i=0
        while [ $i -lt 100 ]; do
          echo $i > a/$i; echo $i > a/b/$i; i=$((i+1))
        done
        yes 0123456789 | head -c 700000 | split -b 7000 -a 3 - c/
        # No two are the same object.
        for file in c/*; do echo $file >> $file; done
      outputs: {x: text}
TASKS
"#;

const ONE: &str = r#"
  NAME:
    uses: command
    needs: {x: x}
    with:
      run: |
        look() {
          (cd "$CLIMB_INPUT_X"; find . | sort; find . -type f | sort | xargs cat) | cksum
          stat -c %i "$CLIMB_INPUT_X/c/aaa"
        }
        look > seen.NAME.1; sleep 0.SECONDS; look > seen.NAME.2; look >> seen.NAME.2
        cat seen.NAME.1 seen.NAME.2 | sort -u > "$CLIMB_OUTPUT_Y"
      outputs: {y: text}
"#;

#[test]
fn tasks_that_start_at_once_see_all_of_their_common_input_all_the_time() {
    let library = without_links();
    for (user, links) in [
        (User::Whoever, true),
        (User::Plain, true),
        (User::Plain, false),
    ] {
        let workspace = Workspace::empty();
        let tasks = 1..=6;
        let tasks: String = tasks
            .clone()
            .map(|n| {
                ONE.replace("NAME", &format!("t{n}"))
                    .replace("SECONDS", &n.to_string())
            })
            .collect();
        workspace.write("w.yaml", CROWD.replace("TASKS", &tasks));
        let args = ["run", "w.yaml", "--jobs", "4"];
        let mut command = match user {
            User::Whoever => workspace.command(&args),
            User::Plain => workspace.plain(&args),
        };
        if !links {
            command.env("LD_PRELOAD", &library);
        }
        let ran = Ran::from(command.output().expect("climb starts"));
        let what = format!("{user:?}, links: {links}");
        assert!(ran.ok(), "{what}:\n{}", ran.stderr);
        let mut seen: BTreeMap<String, usize> = BTreeMap::new();
        for n in 1..=6 {
            *seen.entry(got(&workspace, &format!("t{n}.y"))).or_default() += 1;
        }
        // The same bytes, in the same file: it was made once.
        assert_eq!(seen.len(), 1, "{what}: {seen:?}");
        let (all, _) = seen.first_key_value().expect("one");
        assert_eq!(all.lines().count(), 2, "{what}: {all}");
        assert_verified(&workspace);
    }
}

#[test]
fn a_source_that_was_put_back_was_changed_all_the_same() {
    // How it is put back, and whether something may be recorded after it.
    let cases = [
        ("cp -p s.sh keep; echo : >> s.sh; mv keep s.sh", false),
        ("cp -p s.sh keep; echo : >> s.sh; cp -p keep s.sh", false),
        ("cp s.sh keep; echo : >> s.sh; cat keep > s.sh", false),
        ("chmod a+x s.sh; ln s.sh backup", true),
    ];
    for (meanwhile, good) in cases {
        let workspace = Workspace::empty();
        workspace.write("s.sh", "sh ./meanwhile; echo A > \"$CLIMB_OUTPUT_X\"\n");
        workspace.write("meanwhile", meanwhile);
        let yaml = "stages: {x: {uses: command, with: {run: [sh, s.sh], scripts: [s.sh], outputs: {x: text}}}}";
        workspace.write("w.yaml", yaml);
        let ran = workspace.climb(&["run", "w.yaml"]);
        assert_eq!(
            ran.code,
            Some(if good { 0 } else { 1 }),
            "{meanwhile}:\n{}",
            ran.stderr
        );
        if !good {
            let says = "s.sh changed while it was being read";
            assert!(ran.stderr.contains(says), "{meanwhile}:\n{}", ran.stderr);
            workspace.write("meanwhile", ":");
            let ran = workspace.climb(&["run", "w.yaml", "--json"]);
            assert_eq!(
                Counts::of(&ran.stdout).ran.len(),
                1,
                "{meanwhile}: it was recorded"
            );
        }
    }
}

/// What a run is to read was changed before its task began: it is told before the work, not after it.
#[test]
fn a_source_that_is_another_when_its_task_begins_ends_it_before_it_works() {
    let workspace = Workspace::empty();
    workspace.write("s.sh", "touch ran; echo A > \"$CLIMB_OUTPUT_X\"\n");
    let yaml = r#"
stages:
  first: {uses: command, with: {run: 'echo "echo B" >> s.sh; echo > "$CLIMB_OUTPUT_X"', outputs: {x: text}}}
  x: {uses: command, needs: {after: first}, with: {run: [sh, s.sh], scripts: [s.sh], outputs: {x: text}}}
"#;
    workspace.write("w.yaml", yaml);
    let ran = workspace.climb(&["run", "w.yaml"]);
    assert_eq!(ran.code, Some(1), "{}", ran.stderr);
    assert!(ran.stderr.contains("s.sh changed since"), "{}", ran.stderr);
    assert!(!workspace.path("ran").exists());
}

#[test]
fn read_only_folders_in_outputs_and_state_are_no_obstacle_to_their_owner() {
    let workspace = Workspace::empty();
    let text = r#"
stages:
  x:
    uses: command
    with:
      run: |
        mkdir -p "$CLIMB_OUTPUT_X/d/e" "$CLIMB_OUTPUT_X/none"
        echo hi > "$CLIMB_OUTPUT_X/d/f"
        yes | head -c 9000 > "$CLIMB_OUTPUT_X/d/e/g"
        rmdir "$CLIMB_OUTPUT_X/none"
        if ! test -e "$CLIMB_STATE/s"; then mkdir "$CLIMB_STATE/s"; echo s > "$CLIMB_STATE/s/f"; fi
        chmod 000 "$CLIMB_OUTPUT_X/d/f"
        chmod -R a-w "$CLIMB_OUTPUT_X" "$CLIMB_STATE/s"
        chmod 000 "$CLIMB_OUTPUT_X/d/e"
        if test -e failing; then exit 1; fi
      outputs: {x: text}
  y: {uses: command, needs: {x: x}, with: {run: 'cat "$CLIMB_INPUT_X"/d/f "$CLIMB_INPUT_X"/d/e/g | wc -c > "$CLIMB_OUTPUT_Y"', outputs: {y: text}}}
"#;
    workspace.write("w.yaml", text);
    workspace.write("failing", "");
    let run = || climb(&workspace, User::Plain, &["run", "w.yaml"]);
    assert_eq!(run().code, Some(1));
    std::fs::remove_file(workspace.path("failing")).expect("removed");
    let ran = run();
    assert!(ran.ok(), "{}", ran.stderr);
    assert_eq!(got(&workspace, "y.y").trim(), "9003");
    for folder in ["partial", "work"] {
        let left = std::fs::read_dir(workspace.path(".climb").join(folder));
        assert_eq!(left.expect("a folder").count(), 0, "{folder}");
    }
    // Checkouts are folders of that kind after a kill.
    let line = "chmod -R a-w .climb/checkouts/*";
    let killed = Command::new("sh")
        .args(["-c", line])
        .current_dir(workspace.path(""))
        .status();
    assert!(killed.expect("sh runs").success());
    workspace.write("w.yaml", "stages: {z: {uses: command, with: {run: 'echo > \"$CLIMB_OUTPUT_X\"', outputs: {x: text}}}}");
    assert!(run().ok());
    let gc = climb(
        &workspace,
        User::Plain,
        &["cache", "gc", "--keep-runs", "1"],
    );
    assert!(gc.ok(), "{}", gc.stderr);
    let left = std::fs::read_dir(workspace.path(".climb/checkouts"));
    assert_eq!(left.expect("a folder").count(), 0);
}
