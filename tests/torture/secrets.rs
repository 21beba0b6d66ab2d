//! The value of a `pass_env` variable is nowhere in the cache.

use walkdir::WalkDir;

use crate::workspace::{Ran, Workspace};

#[test]
fn a_secret_is_in_no_file_of_the_cache() {
    let workspace = Workspace::empty();
    let secret = "correct-horse-battery-staple";
    // One that succeeds and one that fails: what a failure leaves behind counts too.
    let yaml = r#"
stages:
  good:
    uses: command
    with:
      run: printf %s "$TOKEN" | wc -c > "$CLIMB_OUTPUT_X"
      pass_env: [TOKEN]
      outputs: {x: text}
  bad:
    uses: command
    with: {run: test -z "$TOKEN", pass_env: [TOKEN], outputs: {x: text}}
"#;
    workspace.write("w.yaml", yaml);
    let run = |args: &[&str]| {
        let mut command = workspace.command(args);
        Ran::from(command.env("TOKEN", secret).output().expect("climb starts"))
    };
    let ran = run(&["run", "w.yaml", "--keep-going", "--jobs", "1"]);
    assert_eq!(ran.code, Some(1), "{}", ran.stderr);
    let size = blake3::hash(format!("{}\n", secret.len()).as_bytes()).to_hex();
    let output = &workspace.artifacts()["good.x"]["file"]["digest"];
    assert_eq!(
        output.as_str(),
        Some(size.as_str()),
        "it reached the command"
    );
    let mut said = vec![ran];
    for args in [
        &["show"][..],
        &["log"],
        &["status"],
        &["runs"],
        &["plan", "w.yaml"],
        &["explain", "w.yaml", "bad"],
    ] {
        said.push(run(args));
    }
    for ran in said {
        assert!(!ran.stdout.contains(secret) && !ran.stderr.contains(secret));
    }
    let mut read = 0;
    for entry in WalkDir::new(workspace.path("")) {
        let entry = entry.expect("readable");
        if entry.file_type().is_file() {
            let bytes = std::fs::read(entry.path()).expect("readable");
            let found = bytes.windows(secret.len()).any(|w| w == secret.as_bytes());
            assert!(!found, "{} has the secret", entry.path().display());
            read += 1;
        }
    }
    assert!(read > 5, "only {read} files");
}
