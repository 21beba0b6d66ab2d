//! Copies, near and far, within what is trained on and of what is tested with.

use proptest::prelude::*;
use serde_json::json;

use super::*;

/// A text of its own of so many words.
fn prose(number: u64, words: usize) -> String {
    let word = |i: usize| {
        let hash = blake3::hash(format!("{number} {i}").as_bytes());
        let length = 2 + hash.as_bytes()[0] as usize % 7;
        hash.to_hex()[1..1 + length].to_string()
    };
    let words: Vec<String> = (0..words).map(word).collect();
    let lines: Vec<String> = words.chunks(9).map(|line| line.join(" ")).collect();
    lines.join("\n")
}

/// The same with one word changed.
fn edited(text: &str, at: usize) -> String {
    let mut words: Vec<&str> = text.split(' ').collect();
    let at = at % words.len();
    words[at] = "edited";
    words.join(" ")
}

/// What people's copies look like.
fn copies(text: &str) -> Vec<(&'static str, String)> {
    let half = text.char_indices().nth(text.len() / 2).unwrap().0;
    vec![
        ("to the byte", text.to_string()),
        ("trailing newline", format!("{text}\n")),
        ("CRLF", text.replace('\n', "\r\n")),
        ("upper case", text.to_uppercase()),
        ("blanks", text.replace(' ', "  ")),
        ("punctuation", text.replace('\n', ".\n")),
        ("first word", edited(text, 0)),
        ("a word", edited(text, 17)),
        ("a few words", edited(&edited(text, 7), 30)),
        ("a part", text[half..].to_string()),
        (
            "something before it",
            format!("{}\n{text}", prose(999_999, 20)),
        ),
    ]
}

fn lines(texts: impl IntoIterator<Item = String>) -> String {
    texts
        .into_iter()
        .map(|text| format!("{}\n", json!({"text": text})))
        .collect()
}

fn holding(matching: &str) -> CorpusParams {
    let heldout = Heldout {
        matching: vec![matching.into()],
        fraction: 1.0,
        ..Heldout::default()
    };
    CorpusParams { heldout, ..all() }
}

#[test]
fn no_copy_of_a_held_out_text_is_trained_on_whatever_the_files_are_called() {
    let held = prose(1, 60);
    let others: Vec<String> = (10..30).map(|i| prose(i, 60)).collect();
    for name in ["a.jsonl", "z.jsonl"] {
        for (what, copy) in copies(&held) {
            let dir = tempfile::tempdir().unwrap();
            let train = others.iter().cloned().chain([copy]);
            std::fs::write(dir.path().join("m.jsonl"), lines(train)).unwrap();
            std::fs::write(dir.path().join(name), lines([held.clone()])).unwrap();
            let mut names = ["m.jsonl", name];
            names.sort_unstable();
            let (train, heldout) = run(dir.path(), &names, &holding(name)).unwrap();
            assert_eq!(texts(&train), others, "{what} in {name}");
            assert_eq!(texts(&heldout), [&held], "{what} in {name}");
            let reason = if what == "to the byte" {
                "in_heldout"
            } else {
                "near_heldout"
            };
            assert_eq!(train.report.counts[reason], 1, "{what}");
            let off = CorpusParams {
                decontaminate: Decontaminate {
                    share: 0.0,
                    ..Decontaminate::default()
                },
                ..holding(name)
            };
            let (train, _) = run(dir.path(), &names, &off).unwrap();
            assert_eq!(
                train.len(),
                if reason == "in_heldout" { 20 } else { 21 },
                "{what}"
            );
        }
    }
}

/// Cut elsewhere, each piece has parts of two held-out ones.
#[test]
fn pieces_are_compared_with_whole_records() {
    let dir = tempfile::tempdir().unwrap();
    let held = prose(1, 600);
    std::fs::write(dir.path().join("a.md"), &held).unwrap();
    let before = format!("{}\n\n", prose(2, 15));
    std::fs::write(dir.path().join("b.md"), format!("{before}{held}")).unwrap();
    std::fs::write(dir.path().join("c.md"), prose(3, 300)).unwrap();
    let params = CorpusParams {
        chunk_chars: 400,
        ..holding("a.md")
    };
    let (train, _) = run(dir.path(), &["a.md", "b.md", "c.md"], &params).unwrap();
    let left: Vec<String> = train
        .meta()
        .unwrap()
        .into_iter()
        .map(|meta| meta.source)
        .collect();
    assert!(
        left.iter().all(|source| source.starts_with("c.md")),
        "{left:?}"
    );
}

#[test]
fn near_duplicates_leave_one_of_each_whatever_the_files_are_called() {
    let groups: Vec<Vec<String>> = (0..8)
        .map(|i| {
            copies(&prose(i, 200))
                .into_iter()
                .map(|(_, copy)| copy)
                .take(8)
                .collect()
        })
        .collect();
    let kept = |order: &[usize]| {
        let dir = tempfile::tempdir().unwrap();
        let names: Vec<String> = (0..8).map(|i| format!("{i}.jsonl")).collect();
        for (name, at) in names.iter().zip(order) {
            // One text of each group in each file.
            let texts = groups.iter().map(|group| group[*at].clone());
            std::fs::write(dir.path().join(name), lines(texts)).unwrap();
        }
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let near_duplicates = NearDuplicates {
            drop: true,
            ..NearDuplicates::default()
        };
        let params = CorpusParams {
            near_duplicates,
            ..all()
        };
        let (train, _) = run(dir.path(), &names, &params).unwrap();
        assert_eq!(train.report.counts["near_duplicate"], 56);
        assert_eq!(
            train.report.extra["examples"]["near_duplicate"]
                .as_array()
                .unwrap()
                .len(),
            5
        );
        let few = CorpusParams {
            max_documents: 5,
            ..params
        };
        assert_eq!(run(dir.path(), &names, &few).unwrap().0.len(), 5);
        let mut left: Vec<String> = texts(&train).into_iter().map(String::from).collect();
        left.sort();
        left
    };
    let left = kept(&[0, 1, 2, 3, 4, 5, 6, 7]);
    assert_eq!(left.len(), 8);
    assert!(
        groups
            .iter()
            .all(|group| left.iter().filter(|text| group.contains(text)).count() == 1)
    );
    assert_eq!(left, kept(&[5, 2, 7, 0, 1, 6, 3, 4]));
}

#[test]
fn threads_change_no_byte() {
    let dir = tempfile::tempdir().unwrap();
    let texts = (0..300u64).flat_map(|i| [prose(i, 80), edited(&prose(i, 80), 5), prose(i, 80)]);
    std::fs::write(dir.path().join("a.jsonl"), lines(texts)).unwrap();
    let near_duplicates = NearDuplicates {
        drop: true,
        ..NearDuplicates::default()
    };
    let params = CorpusParams {
        near_duplicates,
        ..holding("*")
    };
    let params = CorpusParams {
        heldout: Heldout {
            fraction: 0.2,
            max_documents: 40,
            ..params.heldout
        },
        max_documents: 100,
        ..params
    };
    let made = |threads: usize| {
        let out = tempfile::tempdir().unwrap();
        let mut cx = TaskContext::for_test(out.path());
        cx.threads = threads;
        cx.sources
            .insert("files".into(), vec![source(dir.path(), "a.jsonl")]);
        Corpus::run(&params, &cx).unwrap();
        let read = |port: &str, file: &str| std::fs::read(cx.output(port).join(file)).unwrap();
        ["documents", "heldout"].map(|port| {
            ["00000.text", "00000.meta.jsonl", "report.json"].map(|file| read(port, file))
        })
    };
    let one = made(1);
    let report: serde_json::Value = serde_json::from_slice(&one[0][2]).unwrap();
    let counts = &report["counts"];
    for reason in ["duplicate", "near_heldout", "near_duplicate", "subsampled"] {
        assert!(counts[reason].as_u64() > Some(10), "{reason}: {counts}");
    }
    assert_eq!(report["documents"], 100);
    assert!(one == made(2) && one == made(5));
}

#[test]
fn no_text_with_a_question_in_it_is_trained_on() {
    let dir = tempfile::tempdir().unwrap();
    let question = |text: &str, right: &str| {
        json!({"question": text, "choices": [right, "none of these"], "answer": 0}).to_string()
    };
    let (long, short) = (prose(1, 30), prose(2, 6));
    let questions = [
        question(&long, "and the right answer"),
        question(&short, "three more words"),
        question("What is this?", "it"),
    ];
    std::fs::write(dir.path().join("asked.jsonl"), questions.join("\n")).unwrap();
    let within = |text: &str| format!("{}\n{text}\n{}", prose(3, 500), prose(4, 500));
    let words: Vec<&str> = long.split_whitespace().collect();
    let last = |count: usize| words[words.len() - count..].join(" ");
    let train = [
        within(&long.replace('\n', " \r\n").to_uppercase()),
        within(&format!("{} and the right answer", last(9))),
        within(&format!("{short}, three more words")),
        within(&format!("{short} three other words")),
        within(&last(12)),
        prose(5, 40) + " What is this? it",
    ];
    std::fs::write(dir.path().join("a.jsonl"), lines(train.clone())).unwrap();
    let out = tempfile::tempdir().unwrap();
    let mut cx = TaskContext::for_test(out.path());
    cx.sources
        .insert("files".into(), vec![source(dir.path(), "a.jsonl")]);
    cx.sources
        .insert("questions".into(), vec![source(dir.path(), "asked.jsonl")]);
    Corpus::run(&all(), &cx).unwrap();
    let made = Documents::read(&cx.output("documents")).unwrap();
    let left: Vec<String> = made
        .meta()
        .unwrap()
        .into_iter()
        .map(|meta| meta.source)
        .collect();
    assert_eq!(left, ["a.jsonl:4", "a.jsonl:5", "a.jsonl:6"]);
    let report = &made.report;
    assert_eq!(report.counts["in_question"], 3);
    assert_eq!(
        report.extra["questions"],
        json!({"asked": 3, "too_short": 1})
    );
    let examples = report.extra["examples"]["in_question"].as_array().unwrap();
    assert!(
        examples
            .iter()
            .any(|e| e["source"] == "a.jsonl:1" && e["like"] == "asked.jsonl question 1")
    );
}

#[test]
fn held_out_texts_of_other_corpora_are_not_trained_on_either() {
    let dir = tempfile::tempdir().unwrap();
    let texts_of = |range: std::ops::Range<u64>| range.map(|i| prose(i, 60));
    std::fs::write(dir.path().join("other.jsonl"), lines(texts_of(0..5))).unwrap();
    let train = texts_of(3..9).map(|text| edited(&text, 11));
    std::fs::write(dir.path().join("a.jsonl"), lines(train)).unwrap();
    let out = tempfile::tempdir().unwrap();
    let mut other = TaskContext::for_test(out.path());
    other
        .sources
        .insert("files".into(), vec![source(dir.path(), "other.jsonl")]);
    // Something has to be left to train on.
    Corpus::run(
        &CorpusParams {
            min_chars: 40,
            ..all()
        },
        &other,
    )
    .unwrap();
    let run = |params: &CorpusParams| {
        let out = tempfile::tempdir().unwrap();
        let mut cx = TaskContext::for_test(out.path());
        cx = cx.with_input("targets", other.output("documents"));
        cx.sources
            .insert("files".into(), vec![source(dir.path(), "a.jsonl")]);
        Corpus::run(params, &cx)?;
        Documents::read(&cx.output("documents"))
    };
    let made = run(&all()).unwrap();
    assert_eq!((made.len(), made.report.counts["near_heldout"]), (4, 2));
    let like = &made.report.extra["examples"]["near_heldout"][0]["like"];
    assert!(
        ["other.jsonl:4", "other.jsonl:5"]
            .iter()
            .any(|source| like == source),
        "{like}"
    );
    std::fs::write(dir.path().join("a.jsonl"), "{\"ids\": [1, 2, 3]}\n").unwrap();
    let tokens = CorpusParams {
        tokens_field: "ids".into(),
        ..all()
    };
    let error = run(&tokens).err().unwrap().to_string();
    assert!(
        error.contains("one has texts, the other token ids"),
        "{error}"
    );
}

#[test]
fn documents_of_token_ids_are_compared_by_them() {
    let dir = tempfile::tempdir().unwrap();
    let line = |ids: Vec<u64>| format!("{}\n", json!({"ids": ids}));
    let held: Vec<u64> = (0..80).collect();
    let mut copy = held.clone();
    copy[40] = 1000;
    std::fs::write(dir.path().join("a.jsonl"), line(held)).unwrap();
    let train = line(copy) + &line((200..280).collect());
    std::fs::write(dir.path().join("b.jsonl"), train).unwrap();
    let params = CorpusParams {
        tokens_field: "ids".into(),
        ..holding("a.jsonl")
    };
    let (train, held) = run(dir.path(), &["a.jsonl", "b.jsonl"], &params).unwrap();
    assert_eq!((train.len(), held.len()), (1, 1));
    assert_eq!(train.tokens(0).unwrap()[0], 200);
}

/// A limit on what is held out bounds the memory: what it leaves out is not looked for.
#[test]
fn copies_of_what_is_not_kept_may_be_trained_on() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(
        dir.path().join("a.jsonl"),
        lines((0..20).map(|i| prose(i, 60))),
    )
    .unwrap();
    let copies = (0..20).flat_map(|i| [prose(i, 60), edited(&prose(i, 60), 9)]);
    std::fs::write(dir.path().join("b.jsonl"), lines(copies)).unwrap();
    let mut params = holding("a.jsonl");
    params.heldout.max_documents = 5;
    let (train, held) = run(dir.path(), &["a.jsonl", "b.jsonl"], &params).unwrap();
    assert_eq!((train.len(), held.len()), (15, 5));
    assert_eq!(train.report.counts["in_heldout"], 20);
}

#[test]
fn what_is_dropped_is_said_with_counts_and_names() {
    let dir = tempfile::tempdir().unwrap();
    let held = prose(1, 60);
    std::fs::write(dir.path().join("a.md"), &held).unwrap();
    std::fs::write(dir.path().join("b.md"), edited(&held, 3)).unwrap();
    for name in ["c.md", "d.md", "e.md"] {
        std::fs::write(dir.path().join(name), prose(2, 60)).unwrap();
    }
    std::fs::write(dir.path().join("f.md"), edited(&prose(2, 60), 3)).unwrap();
    let near_duplicates = NearDuplicates {
        drop: true,
        ..NearDuplicates::default()
    };
    let params = CorpusParams {
        near_duplicates,
        ..holding("a.md")
    };
    let names = ["a.md", "b.md", "c.md", "d.md", "e.md", "f.md"];
    let told = warnings(dir.path(), &names, &params);
    for part in [
        "of 6 texts dropped as duplicates: d.md (",
        "1 of 6 texts dropped because they are nearly held-out ones: b.md (like a.md, 9",
        "dropped as near-duplicates: ",
    ] {
        assert!(
            told.iter().any(|w| w.contains(part)),
            "no {part:?} in {told:#?}"
        );
    }
}

#[test]
fn parameters_that_cannot_be_meant_are_refused() {
    let near_duplicates = NearDuplicates {
        drop: true,
        ..NearDuplicates::default()
    };
    let decontaminate = Decontaminate {
        questions: vec!["q".into()],
        ..Decontaminate::default()
    };
    let params = CorpusParams {
        paths: vec!["x".into()],
        dedup: false,
        tokens_field: "ids".into(),
        near_duplicates,
        decontaminate,
        ..all()
    };
    let fields: Vec<String> = params
        .problems()
        .into_iter()
        .map(|problem| problem.field)
        .collect();
    assert_eq!(fields, ["near_duplicates.drop", "decontaminate.questions"]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Whoever is renamed, the same texts are on each side, and no copy of one side is on the other.
    #[test]
    fn names_and_order_decide_nothing(
        edits in prop::collection::vec((0u64..12, 0usize..60), 8..24),
        names in Just((0..6).map(|i| format!("{i}.jsonl")).collect::<Vec<_>>()).prop_shuffle(),
        near in any::<bool>(),
    ) {
        let texts_of = |file: usize| {
            let mine = edits.iter().skip(file).step_by(6);
            mine.map(|(number, at)| edited(&prose(*number, 60), *at)).collect::<Vec<_>>()
        };
        let sides = |names: &[String]| {
            let dir = tempfile::tempdir().unwrap();
            for (file, name) in names.iter().enumerate() {
                std::fs::write(dir.path().join(name), lines(texts_of(file))).unwrap();
            }
            std::fs::write(dir.path().join("9.jsonl"), lines([prose(100, 60)])).unwrap();
            let mut sorted: Vec<&str> = names.iter().map(String::as_str).chain(["9.jsonl"]).collect();
            sorted.sort_unstable();
            let near_duplicates = NearDuplicates { drop: near, ..NearDuplicates::default() };
            let heldout = Heldout { fraction: 0.4, matching: vec!["?.jsonl".into()], ..Heldout::default() };
            let params = CorpusParams { heldout, near_duplicates, ..all() };
            let Ok((train, held)) = run(dir.path(), &sorted, &params) else { return None };
            let sorted = |documents: &Documents| {
                let mut all: Vec<String> = texts(documents).into_iter().map(String::from).collect();
                all.sort();
                all
            };
            Some((sorted(&train), sorted(&held)))
        };
        let plain: Vec<String> = (0..6).map(|i| format!("{i}.jsonl")).collect();
        let (one, other) = (sides(&plain), sides(&names));
        prop_assert_eq!(&one, &other);
        let Some((train, held)) = one else { return Ok(()) };
        let likest = |text: &String| {
            let words: Vec<&str> = text.split_whitespace().collect();
            let same = |other: &String| {
                let other = other.split_whitespace();
                words.iter().zip(other).filter(|(a, b)| *a == b).count()
            };
            train.iter().map(same).max().unwrap_or(0)
        };
        for text in &held {
            prop_assert!(likest(text) < 30, "{text:?} in {train:?}");
        }
    }
}
