//! Damage to what tasks are reading, while several of them do: whatever they made of it, nothing
//! wrong is recorded.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use walkdir::WalkDir;

use crate::long;
use crate::random::Random;
use crate::workspace::{Counts, Workspace};

/// Four tasks that read a folder, slowly; the fourth has the list that is made of it, too.
fn workflow() -> String {
    let readers = (1..=4).map(|n| {
        format!(
            r#"
  r{n}:
    uses: command
    needs: {{x: x, after: first}}
    with:
      run: |
        cd "$CLIMB_INPUT_X"
        for i in 1 2 3; do
          for file in a b c/d c/e; do cat $file; sleep 0.0{n}; done
        done | sort | uniq -c > "$CLIMB_OUTPUT_Y"
        find . | sort >> "$CLIMB_OUTPUT_Y"
      outputs: {{y: text}}
"#
        )
    });
    let readers: String = readers.collect();
    format!(
        r#"
stages:
  x:
    uses: command
    with:
      run: |
        mkdir -p "$CLIMB_OUTPUT_X/c"; cd "$CLIMB_OUTPUT_X"
        yes a | head -c 50000 > a; echo b > b; yes d | head -c 50000 > c/d; echo e > c/e
      outputs: {{x: text}}
  first: {{uses: command, needs: {{x: x}}, with: {{run: 'cat "$CLIMB_INPUT_X"/a > "$CLIMB_OUTPUT_Y"', outputs: {{y: text}}}}}}
{readers}"#
    )
}

#[derive(Clone, Copy, Debug)]
enum Harm {
    /// In place, which changes the object too.
    Written,
    Truncated,
    /// By another file of the same size.
    Replaced,
    Removed,
    Added,
    /// The folder with all that is in it.
    Gone,
}

const HARMS: [Harm; 6] = [
    Harm::Written,
    Harm::Replaced,
    Harm::Added,
    Harm::Removed,
    Harm::Truncated,
    Harm::Gone,
];

fn files(root: &Path) -> Vec<PathBuf> {
    let files = WalkDir::new(root).sort_by_file_name().into_iter().flatten();
    let files = files.filter(|entry| entry.file_type().is_file());
    files.map(|entry| entry.into_path()).collect()
}

/// Whether there was something to harm. A task or climb may be faster: that is no error.
fn harm(checkouts: &Path, harm: Harm, random: &mut Random) -> bool {
    let all = files(checkouts);
    if all.is_empty() {
        return false;
    }
    let path = &all[random.below(all.len() as u64) as usize];
    let open_up =
        |path: &Path, mode| std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode));
    let folder = path.parent().expect("a folder");
    let other = |path: &Path| Some(vec![b'z'; path.metadata().ok()?.len() as usize]);
    let done = match harm {
        Harm::Written => open_up(path, 0o644)
            .and_then(|()| std::fs::write(path, other(path).unwrap_or_default())),
        Harm::Truncated => open_up(path, 0o644).and_then(|()| std::fs::write(path, "")),
        Harm::Replaced => open_up(folder, 0o755).and_then(|()| {
            std::fs::write(folder.join("new"), other(path).unwrap_or_default())?;
            std::fs::rename(folder.join("new"), path)
        }),
        Harm::Removed => open_up(folder, 0o755).and_then(|()| std::fs::remove_file(path)),
        Harm::Added => open_up(folder, 0o755).and_then(|()| std::fs::write(folder.join("z"), "z")),
        Harm::Gone => std::fs::remove_dir_all(folder),
    };
    done.is_ok()
}

#[test]
fn whatever_happens_to_what_tasks_read_nothing_wrong_is_recorded() {
    let expected = Workspace::empty();
    expected.write("w.yaml", workflow());
    let ran = expected.climb(&["run", "w.yaml"]);
    assert!(ran.ok(), "{}", ran.stderr);
    let expected = expected.artifacts();
    let mut random = Random::new();
    let rounds = long().unwrap_or(0).max(HARMS.len());
    let mut harmed = 0;
    for round in 0..rounds {
        let workspace = Workspace::empty();
        workspace.write("w.yaml", workflow());
        let (kind, plain) = (HARMS[round % HARMS.len()], random.below(2) == 0);
        let args = ["run", "w.yaml", "--jobs", "4", "--keep-going", "--json"];
        let mut command = match plain {
            true => workspace.plain(&args),
            false => workspace.command(&args),
        };
        let mut child = command
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("climb starts");
        let checkouts = workspace.path(".climb/checkouts");
        let mut times = 1 + random.below(3);
        while child.try_wait().expect("waited").is_none() {
            std::thread::sleep(Duration::from_millis(20 + random.below(300)));
            if times > 0 && harm(&checkouts, kind, &mut random) {
                times -= 1;
                harmed += 1;
            }
        }
        let first = child.wait_with_output().expect("waited");
        let said = String::from_utf8_lossy(&first.stderr).into_owned();
        let what = format!("round {round}, {kind:?}, plain: {plain}:\n{said}");
        assert!(!said.contains("panicked"), "{what}");
        assert!(matches!(first.status.code(), Some(0 | 1)), "{what}");
        // What was recorded is found in the cache, the rest is made now.
        let mut again = match plain {
            true => workspace.plain(&args),
            false => workspace.command(&args),
        };
        let again = crate::workspace::Ran::from(again.output().expect("climb starts"));
        assert!(again.ok(), "{what}\nthen:\n{}", again.stderr);
        assert_eq!(workspace.artifacts(), expected, "{what}");
        let third = workspace.climb(&args);
        assert!(Counts::of(&third.stdout).ran.is_empty(), "{what}");
        let verified = workspace.climb(&["cache", "verify"]);
        assert!(verified.ok(), "{what}\n{}", verified.stdout);
    }
    assert!(harmed >= rounds / 2, "{harmed} of {rounds} came in time");
}

/// What it has read by then was changed, and nobody compared it any more.
const KEEPS_WHAT_IT_READ: &str = r#"
stages:
  x: {uses: command, with: {run: 'mkdir "$CLIMB_OUTPUT_X"; yes good | head -c 50000 > "$CLIMB_OUTPUT_X/large"; echo good > "$CLIMB_OUTPUT_X/small"', outputs: {x: text}}}
  keeps:
    uses: command
    needs: {x: x}
    with:
      run: |
        cd "$CLIMB_INPUT_X"
        if ! test -e "$CLIMB_STATE/kept"; then
          touch "$OLDPWD/begun"
          while test -e "$OLDPWD/wait"; do sleep 0.05; done
          cat large small > "$CLIMB_STATE/kept"
          touch "$OLDPWD/read"
          sleep CALM
        fi
        sort -u "$CLIMB_STATE/kept" > "$CLIMB_OUTPUT_Y"
      outputs: {y: text}
"#;

#[test]
fn what_a_killed_task_has_kept_of_a_changed_input_is_not_believed() {
    for (name, changed) in [("large", true), ("small", true), ("large", false)] {
        let workspace = Workspace::empty();
        workspace.write(
            "w.yaml",
            KEEPS_WHAT_IT_READ.replace("CALM", if changed { "3" } else { "100" }),
        );
        workspace.write("wait", "");
        let mut child = workspace
            .command(&["run", "w.yaml"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("climb starts");
        let until = |name: &str| {
            while !workspace.path(name).exists() {
                std::thread::sleep(Duration::from_millis(20));
            }
        };
        until("begun");
        if changed {
            let all = files(&workspace.path(".climb/checkouts"));
            let path = all.iter().find(|path| path.ends_with(name));
            let path = path.expect("it is checked out");
            let mode = |mode| {
                let mode = std::fs::Permissions::from_mode(mode);
                std::fs::set_permissions(path, mode).expect("allowed");
            };
            mode(0o644);
            let evil = std::fs::read_to_string(path).expect("text");
            std::fs::write(path, evil.replace("good", "evil")).expect("written");
            mode(0o444);
        }
        std::fs::remove_file(workspace.path("wait")).expect("removed");
        until("read");
        child.kill().expect("killed");
        child.wait().expect("waited");
        std::fs::remove_file(workspace.path("read")).expect("removed");
        let ran = workspace.climb(&["run", "w.yaml", "--json"]);
        assert!(ran.ok(), "{name} {changed}:\n{}", ran.stderr);
        let anew = workspace.path("read").exists();
        assert_eq!(anew, changed, "{name}:\n{}", ran.stderr);
        let got = workspace.climb(&["get", "keeps.y", "-"]);
        assert_eq!(got.stdout, "good\n", "{name} {changed}:\n{}", ran.stderr);
    }
}
