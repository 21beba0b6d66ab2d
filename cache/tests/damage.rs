//! The index's files damaged one at a time, in every way: the cache opens, knows every record, and
//! gives the right bytes.

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use climb_cache::{Cache, Record};
use common::{commit, open};
use walkdir::WalkDir;

fn files(dir: &Path) -> Vec<PathBuf> {
    let walk = WalkDir::new(dir.join("index")).sort_by_file_name();
    let files = walk.into_iter().map(Result::unwrap);
    files
        .filter(|entry| entry.file_type().is_file())
        .map(|entry| entry.path().strip_prefix(dir).unwrap().to_path_buf())
        .collect()
}

fn copy(from: &Path) -> tempfile::TempDir {
    let to = tempfile::tempdir().unwrap();
    let source = format!("{}/.", from.display());
    let copied = std::process::Command::new("cp")
        .args(["-a", &source])
        .arg(to.path())
        .status();
    assert!(copied.unwrap().success());
    to
}

fn assert_whole(dir: &Path, records: &[Record], what: &str) {
    let cache = Cache::open(dir, "test").unwrap_or_else(|error| panic!("{what}: {error}"));
    for record in records {
        let found = cache.lookup(&record.key).unwrap();
        assert_eq!(found.as_ref(), Some(record), "{what}");
        for artifact in record.outputs.values() {
            for (name, file) in artifact.files() {
                let bytes = cache.read(&file).unwrap();
                assert_eq!(bytes.len() as u64, file.size, "{what}: {name}");
            }
        }
    }
}

#[test]
fn whatever_happens_to_the_index_no_record_is_lost() {
    let whole = tempfile::tempdir().unwrap();
    let records: Vec<Record> = {
        let cache = open(whole.path());
        (0..12).map(|k| commit(&cache, k)).collect()
    };
    let mut cases = 0;
    for file in files(whole.path()) {
        let good = fs::read(whole.path().join(&file)).unwrap();
        let mut harms: Vec<(String, Option<Vec<u8>>)> = vec![
            ("deleted".into(), None),
            ("emptied".into(), Some(Vec::new())),
            ("another's".into(), Some(vec![0x5a; good.len()])),
        ];
        for part in 1..4 {
            let end = good.len() * part / 4;
            harms.push((format!("cut at {end}"), Some(good[..end].to_vec())));
        }
        // Bits spread over what is written: most of sled's file is holes.
        let written: Vec<usize> = (0..good.len()).filter(|&i| good[i] != 0).collect();
        let step = written.len().div_ceil(24).max(1);
        for &at in written.iter().step_by(step) {
            let mut bytes = good.clone();
            bytes[at] ^= 1 << (at % 8);
            harms.push((format!("flipped at {at}"), Some(bytes)));
        }
        for (how, bytes) in harms {
            let dir = copy(whole.path());
            let path = dir.path().join(&file);
            match bytes {
                None => fs::remove_file(&path).unwrap(),
                Some(bytes) => fs::write(&path, bytes).unwrap(),
            }
            let what = format!("{} {how}", file.display());
            assert_whole(dir.path(), &records, &what);
            // What was made good stays so.
            assert_whole(dir.path(), &records, &what);
            cases += 1;
        }
    }
    assert!(cases > 30, "only {cases} cases");
}
