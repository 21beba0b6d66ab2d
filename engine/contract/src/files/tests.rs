use std::path::Path;

use super::*;
use crate::stage::SourceSpec;

fn spec(patterns: &[&str], exclude: &[&str]) -> SourceSpec {
    let strings = |list: &[&str]| list.iter().map(|s| s.to_string()).collect();
    SourceSpec {
        group: "files",
        param: "paths",
        patterns: strings(patterns),
        exclude: strings(exclude),
    }
}

fn names(spec: &SourceSpec, base: &Path) -> Vec<String> {
    find(spec, base)
        .unwrap()
        .into_iter()
        .map(|file| file.name)
        .collect()
}

#[test]
fn globs_folders_and_files_are_found_by_name() {
    let dir = tempfile::tempdir().unwrap();
    for file in ["a/x.md", "a/b/y.md", "a/b/z.rs", "a/.hidden/q.md", "c.md"] {
        let path = dir.path().join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, file).unwrap();
    }
    let base = dir.path();
    assert_eq!(names(&spec(&["a/**/*.md"], &[]), base), ["b/y.md", "x.md"]);
    assert_eq!(names(&spec(&["a"], &["b/*.rs"]), base), ["b/y.md", "x.md"]);
    assert_eq!(
        names(&spec(&["a/*", "c.md"], &[]), base),
        ["a/x.md", "c.md"]
    );
    assert_eq!(names(&spec(&["a/.hidden/*"], &[]), base), ["q.md"]);
    assert_eq!(names(&spec(&["a/**/*.{md,rs}"], &[]), base).len(), 3);
    let nested = names(&spec(&["**/{*.{md,rs},LICEN[CS]E*}"], &[]), base);
    assert_eq!(nested.len(), 4);
}

#[test]
fn a_pattern_without_files_says_what_is_missing() {
    let dir = tempfile::tempdir().unwrap();
    let error = find(&spec(&["no/such/*.md"], &[]), dir.path()).unwrap_err();
    assert!(
        error.message.contains("`no/such/*.md` matches no file"),
        "{error:?}"
    );
    assert!(error.help.unwrap().contains("does not exist"));
}

use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;

fn write(base: &Path, files: &[&str]) {
    for file in files {
        let path = base.join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, file).unwrap();
    }
}

fn refused(spec: &SourceSpec, base: &Path) -> String {
    find(spec, base).unwrap_err().message
}

#[test]
fn a_base_may_have_any_characters() {
    let dir = tempfile::tempdir().unwrap();
    let odd = std::ffi::OsStr::from_bytes(b"caf\xe9");
    let names_of = ["exp[1]", "a{b}", "[x", "back\\slash", "what?*", "plain"];
    let folders = names_of.iter().map(|name| dir.path().join(name));
    for base in folders.chain([dir.path().join(odd)]) {
        write(
            &base,
            &["data/a.jsonl", "data/deep/b.jsonl", "c{1}/d[2].md"],
        );
        assert_eq!(names(&spec(&["data/*.jsonl"], &[]), &base), ["a.jsonl"]);
        assert_eq!(names(&spec(&["**/*.jsonl"], &["**/b*"]), &base).len(), 1);
        // A file or folder of that very name is meant before a glob is.
        assert_eq!(names(&spec(&["c{1}/d[2].md"], &[]), &base), ["d[2].md"]);
        assert_eq!(names(&spec(&["c{1}"], &[]), &base), ["d[2].md"]);
        if let Some(text) = base.to_str() {
            let whole = format!("{}/data/*.jsonl", escape_glob(text));
            assert_eq!(names(&spec(&[&whole], &[]), Path::new("/")), ["a.jsonl"]);
        }
        let error = find(&spec(&["c{1}/*.md"], &[]), &base).unwrap_err();
        assert!(
            error.help.unwrap().contains("c[{]1[}]"),
            "{:?}",
            error.message
        );
        // What is escaped is a name, and names begin below what is named.
        assert_eq!(names(&spec(&["c[{]1[}]/*.md"], &[]), &base), ["d[2].md"]);
    }
}

#[test]
fn what_cannot_be_read_is_an_error_unless_it_is_excluded() {
    let dir = tempfile::tempdir().unwrap();
    let base = dir.path();
    write(base, &["data/ok/a.jsonl", "data/b.txt"]);
    symlink("/nowhere/c.jsonl", base.join("data/c.jsonl")).unwrap();
    symlink("/nowhere", base.join("data/ok/archive")).unwrap();
    symlink("..", base.join("data/ok/up")).unwrap();
    symlink("self", base.join("data/ok/self")).unwrap();
    for pattern in ["data", "data/**", "data/**/*.jsonl", "**/*"] {
        let error = refused(&spec(&[pattern], &[]), base);
        for part in [
            "cannot read 4 of",
            "data/c.jsonl: a link to /nowhere/c.jsonl, which is not there",
            "archive: a link to /nowhere, which",
            "data/ok/up: a link to",
            "data/ok/self: a link to self",
        ] {
            assert!(error.contains(part), "{pattern}: no {part:?} in {error}");
        }
        let exclude = ["**/c.jsonl", "**/archive", "**/up/**", "**/self"];
        assert!(find(&spec(&[pattern], &exclude), base).is_ok(), "{pattern}");
    }
    // What a pattern cannot mean is not looked at.
    assert_eq!(names(&spec(&["data/*.txt"], &[]), base), ["b.txt"]);
    let error = refused(&spec(&["data/c.jsonl"], &[]), base);
    assert!(error.contains("a link to /nowhere/c.jsonl"), "{error}");
    let error = refused(&spec(&["/dev/null"], &[]), base);
    assert!(error.contains("neither a file nor a folder"), "{error}");
}

#[test]
fn many_troubles_are_counted() {
    let dir = tempfile::tempdir().unwrap();
    for i in 0..25 {
        symlink("/nowhere", dir.path().join(format!("{i:02}"))).unwrap();
    }
    let error = refused(&spec(&["."], &[]), dir.path());
    assert!(error.contains("cannot read 25"), "{error}");
    assert!(
        error.contains("/09: ") && !error.contains("/10: "),
        "{error}"
    );
    assert!(error.contains("and 15 more"), "{error}");
}

#[test]
fn a_dot_means_no_hidden_files() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), &["a.md", ".b.md", ".git/c.md"]);
    for pattern in [".", "./*.md", "**/*"] {
        assert_eq!(names(&spec(&[pattern], &[]), dir.path()), ["a.md"]);
    }
    assert_eq!(names(&spec(&[".git"], &[]), dir.path()), ["c.md"]);
    assert_eq!(names(&spec(&[".*.md"], &[]), dir.path()), [".b.md"]);
}

#[test]
fn a_cache_is_no_source() {
    let dir = tempfile::tempdir().unwrap();
    let base = dir.path();
    let entries = ["lock", "records/ab/x", "objects/ab/y", "runs/1/logs/a.log"];
    write(base, &["a.txt", "sub/b.txt"]);
    for cache in ["results", "sub/old"] {
        write(&base.join(cache), &entries);
    }
    write(base, &["results/mine.txt"]);
    let all = names(&spec(&["."], &[]), base);
    assert_eq!(all, ["a.txt", "sub/b.txt"]);
    symlink("results/runs", base.join("link")).unwrap();
    for inside in [
        "results/runs",
        "results/objects/**/*",
        "results/lock",
        "link/1",
    ] {
        let error = refused(&spec(&[inside], &[]), base);
        assert!(error.contains("is inside the cache"), "{inside}: {error}");
    }
    // A cache in the project's own folder leaves the project's files.
    write(base, &entries);
    std::fs::remove_file(base.join("link")).unwrap();
    assert_eq!(
        names(&spec(&["**/*.txt"], &[]), base),
        ["a.txt", "sub/b.txt"]
    );
}

#[test]
fn names_that_are_not_utf8_are_kept_apart() {
    let dir = tempfile::tempdir().unwrap();
    for name in [&b"caf\xe9.md"[..], b"caf\xe8.md", "café.md".as_bytes()] {
        let path = dir.path().join(std::ffi::OsStr::from_bytes(name));
        std::fs::write(path, name).unwrap();
    }
    let found = find(&spec(&["*.md"], &[]), dir.path()).unwrap();
    let names: Vec<&str> = found.iter().map(|file| file.name.as_str()).collect();
    assert_eq!(names, ["caf\\xE8.md", "caf\\xE9.md", "café.md"]);
    assert!(found.iter().all(|file| file.path.exists()));
    let some = find(&spec(&["."], &["caf[!\u{e9}].md"]), dir.path());
    assert!(some.is_ok());
}
