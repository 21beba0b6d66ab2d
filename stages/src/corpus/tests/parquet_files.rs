//! Corpora of Parquet files.

use arrow_array::builder::{Float64Builder, Int64Builder, ListBuilder, UInt32Builder};
use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray, StructArray};
use arrow_cast::cast;
use arrow_schema::{DataType, Field};
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;

use super::*;

fn write_parquet(path: &Path, batch: &RecordBatch) {
    let file = std::fs::File::create(path).unwrap();
    let mut writer = parquet::arrow::ArrowWriter::try_new(file, batch.schema(), None).unwrap();
    writer.write(batch).unwrap();
    writer.close().unwrap();
}

#[test]
fn parquet_texts_and_climblab_tokens() {
    let dir = tempfile::tempdir().unwrap();
    let texts_column = Arc::new(StringArray::from(vec![Some("one"), None, Some("two")]));
    let batch = RecordBatch::try_from_iter([("text", texts_column as _)]).unwrap();
    write_parquet(&dir.path().join("a.parquet"), &batch);
    let (train, _) = run(dir.path(), &["a.parquet"], &all()).unwrap();
    assert_eq!(texts(&train), ["one", "two"]);

    let mut ids = ListBuilder::new(UInt32Builder::new());
    for document in [&[1u32, 2, 3][..], &[4]] {
        ids.values().append_slice(document);
        ids.append(true);
    }
    let clusters = Arc::new(Int64Array::from(vec![7, 9]));
    let columns = [
        ("tokens", Arc::new(ids.finish()) as _),
        ("cluster_id", clusters as _),
    ];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    write_parquet(&dir.path().join("lab.parquet"), &batch);
    let params = CorpusParams {
        tokens_field: "tokens".into(),
        cluster_field: "cluster_id".into(),
        ..all()
    };
    let (train, _) = run(dir.path(), &["lab.parquet"], &params).unwrap();
    assert_eq!(train.tokens(0), Some(&[1, 2, 3][..]));
    assert_eq!(train.meta().unwrap()[1].cluster, Some(9));

    let error = run(dir.path(), &["lab.parquet"], &all())
        .err()
        .unwrap()
        .to_string();
    assert!(
        error.contains("no column `text`; there are: tokens, cluster_id"),
        "{error}"
    );
}

#[test]
fn empty_and_cut_parquet_files_are_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.parquet");
    std::fs::write(&path, "").unwrap();
    assert!(
        parquet_file::check(&path)
            .unwrap_err()
            .to_string()
            .contains("is empty (0 bytes)")
    );
    std::fs::write(&path, "PAR1 and then nothing").unwrap();
    assert!(
        parquet_file::check(&path)
            .unwrap_err()
            .to_string()
            .contains("only part of one")
    );
}

/// All that writers of Parquet make of texts and numbers.
#[test]
fn parquet_of_any_type_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let column = |from: ArrayRef, ty: &DataType| cast(&from, ty).unwrap();
    let words = || Arc::new(StringArray::from(vec![Some("one"), None, Some("two")])) as ArrayRef;
    let path = dir.path().join("a.parquet");
    let dictionary = DataType::Dictionary(Box::new(DataType::Int8), Box::new(DataType::Utf8));
    for ty in [
        dictionary,
        DataType::Binary,
        DataType::LargeBinary,
        DataType::LargeUtf8,
        DataType::Utf8View,
    ] {
        let batch = RecordBatch::try_from_iter([("text", column(words(), &ty))]).unwrap();
        write_parquet(&path, &batch);
        let (train, _) = run(dir.path(), &["a.parquet"], &all()).unwrap();
        assert_eq!(texts(&train), ["one", "two"], "{ty}");
        assert_eq!(train.report.counts["empty"], 1, "{ty}");
    }
    let numbers = || Arc::new(Int64Array::from(vec![1, 0, 1])) as ArrayRef;
    let params = CorpusParams {
        score_fields: vec!["n".into()],
        cluster_field: "n".into(),
        ..all()
    };
    for ty in [
        DataType::Int8,
        DataType::Int16,
        DataType::UInt8,
        DataType::UInt64,
        DataType::Float16,
        DataType::Float32,
        DataType::Boolean,
        DataType::Decimal128(10, 2),
        DataType::Decimal256(50, 0),
    ] {
        let all_there = Arc::new(StringArray::from(vec!["one", "two", "three"])) as ArrayRef;
        let columns = [("text", all_there), ("n", column(numbers(), &ty))];
        write_parquet(&path, &RecordBatch::try_from_iter(columns).unwrap());
        let (train, _) = run(dir.path(), &["a.parquet"], &params).unwrap();
        let meta = train.meta().unwrap();
        let got: Vec<_> = meta
            .iter()
            .map(|m| (m.cluster.unwrap(), m.scores["n"]))
            .collect();
        assert_eq!(got, [(1, 1.0), (0, 0.0), (1, 1.0)], "{ty}");
    }
}

#[test]
fn parquet_of_any_codec_and_depth_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.parquet");
    let words = || Arc::new(StringArray::from(vec!["one", "two", "three"])) as ArrayRef;
    for codec in [
        Compression::LZ4,
        Compression::LZ4_RAW,
        Compression::BROTLI(Default::default()),
        Compression::GZIP(Default::default()),
        Compression::SNAPPY,
        Compression::ZSTD(Default::default()),
    ] {
        let batch = RecordBatch::try_from_iter([("text", words())]).unwrap();
        let properties = WriterProperties::builder().set_compression(codec).build();
        let file = std::fs::File::create(&path).unwrap();
        let mut writer =
            parquet::arrow::ArrowWriter::try_new(file, batch.schema(), Some(properties)).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
        let (train, _) = run(dir.path(), &["a.parquet"], &all()).unwrap();
        assert_eq!(train.len(), 3, "{codec}");
    }
    let field = Arc::new(Field::new("text", DataType::Utf8, true));
    let inside = StructArray::new(
        vec![field].into(),
        vec![words()],
        Some(vec![true, false, true].into()),
    );
    let params = CorpusParams {
        text_field: "doc.text".into(),
        ..all()
    };
    let batch = RecordBatch::try_from_iter([("doc", Arc::new(inside) as ArrayRef)]).unwrap();
    write_parquet(&path, &batch);
    let (train, _) = run(dir.path(), &["a.parquet"], &params).unwrap();
    assert_eq!(texts(&train), ["one", "three"]);
    let batch = RecordBatch::try_from_iter([("doc.text", words())]).unwrap();
    write_parquet(&path, &batch);
    let (train, _) = run(dir.path(), &["a.parquet"], &params).unwrap();
    assert_eq!(texts(&train), ["one", "two", "three"]);
}

#[test]
fn a_list_of_ids_is_whole_or_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.parquet");
    let params = CorpusParams {
        tokens_field: "ids".into(),
        ..all()
    };
    for ty in [
        DataType::Int8,
        DataType::UInt8,
        DataType::Int64,
        DataType::UInt64,
        DataType::Float64,
        DataType::Decimal128(12, 1),
    ] {
        let mut ids = ListBuilder::new(Int64Builder::new());
        ids.append_value([Some(1), Some(2), Some(3)]);
        ids.append_value([Some(4), None]);
        ids.append_null();
        ids.append_value([Some(5)]);
        let list = DataType::List(Arc::new(Field::new("item", ty.clone(), true)));
        let ids = cast(&(Arc::new(ids.finish()) as ArrayRef), &list).unwrap();
        write_parquet(&path, &RecordBatch::try_from_iter([("ids", ids)]).unwrap());
        let (train, _) = run(dir.path(), &["a.parquet"], &params).unwrap();
        assert_eq!(train.len(), 2, "{ty}");
        assert_eq!(train.tokens(0), Some(&[1, 2, 3][..]), "{ty}");
        assert_eq!(train.tokens(1), Some(&[5][..]), "{ty}");
        assert_eq!(train.report.counts["bad_tokens"], 1, "{ty}");
        assert_eq!(train.report.counts["empty"], 1, "{ty}");
    }
    let mut ids = ListBuilder::new(Float64Builder::new());
    for id in [-1.0, 1.5, 1e12, 7.0] {
        ids.append_value([Some(id)]);
    }
    let ids = Arc::new(ids.finish()) as ArrayRef;
    write_parquet(&path, &RecordBatch::try_from_iter([("ids", ids)]).unwrap());
    let (train, _) = run(dir.path(), &["a.parquet"], &params).unwrap();
    assert_eq!((train.len(), train.report.counts["bad_tokens"]), (1, 3));
}

#[test]
fn what_does_not_fit_is_said_by_the_footer() {
    let dir = tempfile::tempdir().unwrap();
    let words = Arc::new(StringArray::from(vec!["one"])) as ArrayRef;
    let numbers = Arc::new(Int64Array::from(vec![1])) as ArrayRef;
    let batch = RecordBatch::try_from_iter([("content", words), ("n", numbers)]).unwrap();
    let found = |name: &str| {
        let path = dir.path().join(name);
        write_parquet(&path, &batch);
        FoundFile {
            name: name.into(),
            size: 1,
            path,
        }
    };
    let sources = BTreeMap::from([("files".into(), vec![found("a.parquet"), found("b")])]);
    let problems = |params: &CorpusParams| Corpus::check_sources(params, &sources);
    let params = CorpusParams {
        text_field: "contents".into(),
        score_fields: vec!["n".into(), "content".into()],
        ..all()
    };
    let told = problems(&params);
    let fields: Vec<&str> = told.iter().map(|p| p.field.as_str()).collect();
    assert_eq!(fields, ["text_field", "score_fields"], "{told:?}");
    assert!(
        told[0]
            .message
            .contains("no column `contents`; there are: content, n")
    );
    assert!(told[0].message.contains("and 1 more like it"));
    assert_eq!(told[0].help.as_deref(), Some("did you mean `content`?"));
    assert!(
        told[1]
            .message
            .contains("`content` of type Utf8, not of numbers"),
        "{told:?}"
    );
    let right = CorpusParams {
        text_field: "content".into(),
        score_fields: vec!["n".into()],
        ..all()
    };
    assert_eq!(problems(&right), []);
}
