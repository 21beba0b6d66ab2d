//! The worker by itself, as climb starts it.

use std::path::PathBuf;
use std::process::{Command, Output};

fn worker(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_climb-torch"));
    if let Some(libtorch) = std::env::var_os("LIBTORCH") {
        command.env("LD_LIBRARY_PATH", PathBuf::from(libtorch).join("lib"));
    }
    command.args(arguments).output().expect("it can be started")
}

#[test]
fn it_says_its_build_and_what_libtorch_sees() {
    let said = worker(&["devices"]);
    assert!(said.status.success(), "{said:?}");
    let said: serde_json::Value = serde_json::from_slice(&said.stdout).unwrap();
    assert!(said["gpus"].is_u64() && said["cuda"].is_boolean(), "{said}");
    let version = worker(&["--version"]);
    let version = String::from_utf8(version.stdout).unwrap();
    assert_eq!(
        version.trim(),
        format!("climb-torch {}", said["build"].as_str().unwrap())
    );
}

#[test]
fn a_description_by_another_build_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("task.json");
    std::fs::write(&file, r#"{"protocol": 1, "build": "0.2.0-other"}"#).unwrap();
    let said = worker(&["task", file.to_str().unwrap()]);
    assert_eq!(said.status.code(), Some(1));
    let said = String::from_utf8(said.stderr).unwrap();
    assert!(
        said.contains("0.2.0-other") && said.contains("make build"),
        "{said}"
    );
}

#[test]
fn what_it_does_not_know_is_answered_with_its_usage() {
    let said = worker(&["dance"]);
    assert_eq!(said.status.code(), Some(2));
    assert!(
        String::from_utf8(said.stderr)
            .unwrap()
            .contains("Usage: climb-torch task FILE")
    );
}
