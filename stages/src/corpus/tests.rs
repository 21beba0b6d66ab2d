mod duplicates;
mod parquet_files;

use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex};

use climb_cache_digest::digest;

use climb_contract::report::TaskReport;
use climb_contract::stage::{Format as _, SourceFile};

use super::*;
use crate::formats::documents::Documents;

/// A digest for made-up sources; the stage does not look at it.
mod climb_cache_digest {
    pub fn digest(path: &std::path::Path) -> serde_json::Value {
        serde_json::json!(
            blake3::hash(path.to_string_lossy().as_bytes())
                .to_hex()
                .to_string()
        )
    }
}

fn source(root: &Path, name: &str) -> SourceFile {
    let path = root.join(name);
    let value = serde_json::json!({
        "name": name, "path": path, "size": 0, "digest": digest(&path),
    });
    serde_json::from_value(value).unwrap()
}

/// Runs the stage on named files; returns the training and held-out documents.
fn run(
    root: &Path,
    names: &[&str],
    params: &CorpusParams,
) -> anyhow::Result<(Documents, Documents)> {
    let out = tempfile::tempdir_in(root)?.keep();
    let mut cx = TaskContext::for_test(&out);
    let files = names.iter().map(|name| source(root, name)).collect();
    cx.sources.insert("files".into(), files);
    Corpus::run(params, &cx)?;
    let open = |port: &str| Documents::read(&cx.output(port));
    Ok((open("documents")?, open("heldout")?))
}

/// What a run warns of.
fn warnings(root: &Path, names: &[&str], params: &CorpusParams) -> Vec<String> {
    let out = tempfile::tempdir_in(root).unwrap().keep();
    let mut cx = TaskContext::for_test(&out);
    let told = Arc::new(Mutex::new(Vec::new()));
    let kept = told.clone();
    cx.report = Box::new(move |report| {
        if let TaskReport::Warning { message } = report {
            kept.lock().unwrap().push(message);
        }
    });
    let files = names.iter().map(|name| source(root, name)).collect();
    cx.sources.insert("files".into(), files);
    Corpus::run(params, &cx).unwrap();
    drop(cx);
    Arc::into_inner(told).unwrap().into_inner().unwrap()
}

fn texts(documents: &Documents) -> Vec<&str> {
    (0..documents.len()).map(|i| documents.text(i)).collect()
}

fn all() -> CorpusParams {
    let heldout = Heldout {
        fraction: 0.0,
        ..Heldout::default()
    };
    CorpusParams {
        min_chars: 1,
        heldout,
        ..CorpusParams::default()
    }
}

#[test]
fn text_files_binaries_and_duplicates() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("a.md"), "alpha").unwrap();
    std::fs::write(dir.path().join("b.bin"), b"\0\x01\x02").unwrap();
    std::fs::write(dir.path().join("c.rs"), [0xff, 0xfe, b'x']).unwrap();
    std::fs::write(dir.path().join("d.md"), "alpha").unwrap();
    std::fs::write(dir.path().join("e.md"), "  \n").unwrap();
    let (train, _) = run(
        dir.path(),
        &["a.md", "b.bin", "c.rs", "d.md", "e.md"],
        &all(),
    )
    .unwrap();
    assert_eq!(texts(&train), ["alpha"]);
    let counts = &train.report.counts;
    assert_eq!(counts["not_text"], 2);
    assert_eq!(counts["duplicate"], 1);
    assert_eq!(counts["empty"], 1);
    assert_eq!(train.meta().unwrap()[0].source, "a.md");
}

#[test]
fn jsonl_plain_and_compressed_with_bad_lines() {
    let dir = tempfile::tempdir().unwrap();
    let lines = "{\"text\":\"one\",\"q\":0.5}\n{broken\n\n{\"text\":\"two\",\"q\":1}\n{\"q\":1}\n";
    std::fs::write(dir.path().join("a.jsonl"), lines).unwrap();
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), Default::default());
    gz.write_all(
        lines
            .replace("one", "eins")
            .replace("two", "zwei")
            .as_bytes(),
    )
    .unwrap();
    std::fs::write(dir.path().join("b.jsonl.gz"), gz.finish().unwrap()).unwrap();
    let zst = zstd::encode_all(lines.replace("one", "uno").as_bytes(), 1).unwrap();
    std::fs::write(dir.path().join("c.jsonl.zst"), zst).unwrap();
    let params = CorpusParams {
        score_fields: vec!["q".into()],
        ..all()
    };
    let names = ["a.jsonl", "b.jsonl.gz", "c.jsonl.zst"];
    let (train, _) = run(dir.path(), &names, &params).unwrap();
    assert_eq!(texts(&train), ["one", "two", "eins", "zwei", "uno"]);
    assert_eq!(train.report.counts["broken_json"], 3);
    assert_eq!(train.report.counts["missing_field"], 3);
    let meta = train.meta().unwrap();
    assert_eq!(
        (meta[1].source.as_str(), meta[1].scores["q"]),
        ("a.jsonl:4", 1.0)
    );
}

#[test]
fn a_file_without_one_good_record_says_what_fields_there_are() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("a.jsonl"), "{\"content\":\"x\",\"id\":1}\n").unwrap();
    let error = run(dir.path(), &["a.jsonl"], &all())
        .err()
        .unwrap()
        .to_string();
    assert!(
        error.contains("a.jsonl:1") && error.contains("content, id"),
        "{error}"
    );
}

#[test]
fn a_target_that_matches_nothing_is_said_before_a_run() {
    let file = |name: &str| FoundFile {
        name: name.into(),
        size: 1,
        path: "Cargo.toml".into(),
    };
    let sources = BTreeMap::from([("files".into(), vec![file("wiki/a.md"), file("wiki/b.md")])]);
    let problems = |matching: &[&str], fraction| {
        let heldout = Heldout {
            matching: matching.iter().map(|glob| glob.to_string()).collect(),
            fraction,
            ..Heldout::default()
        };
        Corpus::check_sources(&CorpusParams { heldout, ..all() }, &sources)
    };
    let told = problems(&["**/a.md", "wikis/*"], 0.1);
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(told[0].field, "heldout.match");
    assert!(
        told[0].message.contains("`wikis/*` matches no file"),
        "{told:?}"
    );
    assert!(
        told[0].help.as_ref().unwrap().contains("wiki/a.md"),
        "{told:?}"
    );
    assert_eq!(problems(&["wikis/*"], 0.0), []);
    assert_eq!(problems(&["**"], 0.1), []);
}

#[test]
fn files_are_read_by_their_content() {
    let dir = tempfile::tempdir().unwrap();
    let write =
        |name: &str, content: &[u8]| std::fs::write(dir.path().join(name), content).unwrap();
    let lines = |word: &str| format!("{{\"text\":\"{word} 1\"}}\n{{\"text\":\"{word} 2\"}}\n");
    let zstd = |text: &str| zstd::encode_all(text.as_bytes(), 1).unwrap();
    let utf16 = |text: &str| -> Vec<u8> {
        let units = text.encode_utf16().flat_map(u16::to_le_bytes);
        [0xff, 0xfe].into_iter().chain(units).collect()
    };
    write("a.json", lines("a").as_bytes());
    write("b.JSONL.GZ", &zstd(&lines("b")));
    write(
        "c.json",
        format!("[{}]", lines("c").replace("}\n{", "},\n{")).as_bytes(),
    );
    write(
        "d.jsonl",
        format!("\u{feff}{0}\u{feff}{0}", lines("d")).as_bytes(),
    );
    write("e.jsonl", &utf16(&lines("e")));
    write("f.md", &utf16("f é"));
    write("g.md", "\u{feff}g".as_bytes());
    write("h.json", b"{\"name\": [1]}");
    write("i.json", b"{\n\"text\": \"i\"\n}");
    let names = [
        "a.json",
        "b.JSONL.GZ",
        "c.json",
        "d.jsonl",
        "e.jsonl",
        "f.md",
        "g.md",
        "h.json",
        "i.json",
    ];
    let (train, _) = run(dir.path(), &names, &all()).unwrap();
    let expected = [
        "a 1",
        "a 2",
        "b 1",
        "b 2",
        "c 1",
        "c 2",
        "d 1",
        "d 2",
        "e 1",
        "e 2",
        "f é",
        "g",
        "{\"name\": [1]}",
        "i",
    ];
    assert_eq!(texts(&train), expected);
    assert_eq!(train.report.counts["duplicate"], 2);
    let files = serde_json::json!({"json": 6, "text": 3});
    assert_eq!(train.report.extra["files"], files);
    let sources: Vec<String> = train
        .meta()
        .unwrap()
        .into_iter()
        .map(|m| m.source)
        .collect();
    assert_eq!(sources[4..6], ["c.json:1", "c.json:2"]);
}

#[test]
fn what_is_left_out_is_said_with_counts_and_names() {
    let dir = tempfile::tempdir().unwrap();
    let write =
        |name: &str, content: &[u8]| std::fs::write(dir.path().join(name), content).unwrap();
    write("a.md", b"alpha");
    write("b.png", b"\x89PNG\0");
    write("c.zip", b"PK\x03\x04\0");
    write("d.jsonl", b"");
    write("e.txt", b"caf\xe9");
    write("f.md", b"alpha");
    write("g.json", b"[{\"name\": 1}]");
    let names = [
        "a.md", "b.png", "c.zip", "d.jsonl", "e.txt", "f.md", "g.json",
    ];
    let told = warnings(dir.path(), &names, &all());
    for part in [
        "2 files are no text and left out: b.png, e.txt",
        "1 file of formats that are not read is left out: c.zip",
        "1 file is empty and left out: d.jsonl",
        "1 file with a list of JSON objects is taken as one text each",
        "1 of 3 texts dropped as duplicates",
    ] {
        assert!(
            told.iter().any(|w| w.contains(part)),
            "no {part:?} in {told:#?}"
        );
    }
    let (train, _) = run(dir.path(), &names, &all()).unwrap();
    let left_out = &train.report.extra["left_out"];
    assert_eq!(
        left_out["not_text"],
        serde_json::json!({"files": 2, "first": ["b.png", "e.txt"]})
    );
    assert_eq!(warnings(dir.path(), &["a.md", "g.json"], &all()).len(), 1);
    assert!(warnings(dir.path(), &["a.md"], &all()).is_empty());
}

#[test]
fn records_that_python_writes_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let lines = r#"{"text": "a", "perplexity": NaN, "q": 1}
{"text": "half \ud83d of it", "x": [Infinity, -Infinity, 1e999], "q": 0.5}
{"text": "b", "q": NaN}
{"text": "c", "q": 12345678901234567890123, "text": "d"}
"#;
    std::fs::write(dir.path().join("a.jsonl"), lines).unwrap();
    let (train, _) = run(dir.path(), &["a.jsonl"], &all()).unwrap();
    assert_eq!(texts(&train), ["a", "half \u{fffd} of it", "b", "d"]);
    let params = CorpusParams {
        score_fields: vec!["q".into()],
        ..all()
    };
    let told = warnings(dir.path(), &["a.jsonl"], &params);
    assert!(
        told[0].contains("a.jsonl:3: field `q` is null or NaN, not a number"),
        "{told:?}"
    );
    let (train, _) = run(dir.path(), &["a.jsonl"], &params).unwrap();
    assert_eq!((train.len(), train.report.counts["missing_field"]), (3, 1));
}

/// Whatever the files are called.
#[test]
fn a_text_that_is_held_out_is_never_trained_on() {
    let dir = tempfile::tempdir().unwrap();
    let line = |i: usize| format!("{{\"text\":\"text number {i}\"}}\n");
    let train: String = (0..20).map(line).collect();
    let test: String = (15..25).map(line).collect();
    let long = format!("{{\"text\":\"{}\"}}\n", "text number 3\\n".repeat(3));
    for name in ["a.jsonl", "z.jsonl"] {
        std::fs::write(dir.path().join("m.jsonl"), format!("{train}{train}{long}")).unwrap();
        std::fs::write(dir.path().join(name), format!("{test}{test}")).unwrap();
        let mut names = ["m.jsonl", name];
        names.sort();
        for dedup in [true, false] {
            let heldout = Heldout {
                matching: vec![name.into()],
                fraction: 1.0,
                max_documents: 4,
                ..Heldout::default()
            };
            let params = CorpusParams {
                heldout,
                dedup,
                ..all()
            };
            let (train, held) = run(dir.path(), &names, &params).unwrap();
            let copies = if dedup { 1 } else { 2 };
            assert_eq!(train.len(), 15 * copies + 1, "{name} {dedup}");
            assert_eq!(train.report.counts["in_heldout"], 10, "{name} {dedup}");
            let trained = texts(&train);
            assert!((15..25).all(|i| !trained.contains(&&*format!("text number {i}"))));
            assert!(texts(&held).iter().all(|text| !trained.contains(text)));
            if dedup {
                assert_eq!(held.len(), 4, "{name}");
                let most = CorpusParams {
                    max_documents: 7,
                    ..params
                };
                let (train, _) = run(dir.path(), &names, &most).unwrap();
                assert_eq!(train.len(), 7, "{name}");
            }
        }
    }
    // A piece of a text that is held out is in no other text's pieces.
    let piece = |i: usize| format!("piece number {i} of many\n\n");
    for (i, name) in ["a.md", "b.md", "c.md", "d.md", "e.md", "f.md"]
        .iter()
        .enumerate()
    {
        let text: String = [0, i + 1, 100].map(piece).concat();
        std::fs::write(dir.path().join(name), text).unwrap();
    }
    let heldout = Heldout {
        fraction: 0.5,
        ..Heldout::default()
    };
    let params = CorpusParams {
        heldout,
        chunk_chars: 27,
        ..all()
    };
    let names = ["a.md", "b.md", "c.md", "d.md", "e.md", "f.md"];
    let (train, held) = run(dir.path(), &names, &params).unwrap();
    assert!(!held.is_empty() && !train.is_empty());
    let trained = texts(&train);
    assert!(texts(&held).contains(&&*piece(0)));
    assert!(texts(&held).iter().all(|text| !trained.contains(text)));
}

/// 200 different small files.
fn many(dir: &Path) -> Vec<String> {
    (0..200)
        .map(|i| {
            let name = format!("{i:03}.{}", if i % 2 == 0 { "md" } else { "rs" });
            std::fs::write(dir.join(&name), format!("document number {i}\n\nand more")).unwrap();
            name
        })
        .collect()
}

#[test]
fn held_out_documents_match_and_stay_where_they_are() {
    let dir = tempfile::tempdir().unwrap();
    let names = many(dir.path());
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let heldout = Heldout {
        matching: vec!["*.md".into()],
        fraction: 0.4,
        ..Heldout::default()
    };
    let params = CorpusParams { heldout, ..all() };
    let (train, held) = run(dir.path(), &names, &params).unwrap();
    assert!((25..55).contains(&held.len()), "{}", held.len());
    assert_eq!(train.len() + held.len(), 200);
    assert!(
        held.meta()
            .unwrap()
            .iter()
            .all(|meta| meta.source.ends_with(".md"))
    );
    let (fewer, held_fewer) = run(dir.path(), &names[..100], &params).unwrap();
    assert!(
        texts(&held_fewer)
            .iter()
            .all(|text| texts(&held).contains(text))
    );
    assert!(
        texts(&fewer)
            .iter()
            .all(|text| texts(&train).contains(text))
    );
}

#[test]
fn a_limit_keeps_exactly_that_many_and_more_keeps_the_first() {
    let dir = tempfile::tempdir().unwrap();
    let names = many(dir.path());
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let limited = |max_documents| {
        let params = CorpusParams {
            max_documents,
            chunk_chars: 20,
            ..all()
        };
        run(dir.path(), &names, &params).unwrap().0
    };
    let (few, more) = (limited(10), limited(30));
    assert_eq!((few.len(), more.len()), (10, 30));
    assert!(texts(&few).iter().all(|text| texts(&more).contains(text)));
}

#[test]
fn small_shards_read_like_one() {
    let dir = tempfile::tempdir().unwrap();
    let names = many(dir.path());
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let whole = run(dir.path(), &names, &all()).unwrap().0;
    let params = CorpusParams {
        shard_bytes: 100,
        ..all()
    };
    let sharded = run(dir.path(), &names, &params).unwrap().0;
    assert_eq!(texts(&whole), texts(&sharded));
    assert_eq!(whole.meta().unwrap(), sharded.meta().unwrap());
}

#[test]
fn nothing_left_is_an_error_with_the_counts() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("a.md"), "tiny").unwrap();
    let params = CorpusParams {
        min_chars: 100,
        ..all()
    };
    let error = run(dir.path(), &["a.md"], &params)
        .err()
        .unwrap()
        .to_string();
    assert!(
        error.contains("no document is left") && error.contains("short"),
        "{error}"
    );
}
