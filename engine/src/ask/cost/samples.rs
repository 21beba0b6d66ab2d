//! Recorded costs of a kind's tasks: some of them, as a stage may have a million.

use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

use climb_cache::{Reader, Record};

/// How many records of a stage are looked at, in the order of their keys, which is by chance.
const OF_STAGE: usize = 200;
/// And of each of the kind's other stages.
const OF_OTHERS: usize = 40;
/// How many stages of a kind are looked at.
const STAGES: usize = 16;
/// The total that marks a task which went on from an earlier attempt's state: its time is that of
/// its last attempt alone.
pub const RESUMED: &str = "resumed";
/// The size of the files that a task read from outside.
pub const SOURCE_BYTES: &str = "source_bytes";

/// What one recorded task cost.
pub struct Sample {
    /// Canonical, as text.
    pub params: String,
    pub seconds: f64,
    pub totals: BTreeMap<String, f64>,
    pub on_gpu: bool,
}

/// Reads samples, once for each stage and each kind.
pub struct Samples<'a> {
    cache: &'a dyn Reader,
    of_kind: HashMap<String, Rc<Vec<Sample>>>,
    of_stage: HashMap<(String, String), Rc<Vec<Sample>>>,
}

impl<'a> Samples<'a> {
    pub fn new(cache: &'a dyn Reader) -> Samples<'a> {
        Samples {
            cache,
            of_kind: HashMap::new(),
            of_stage: HashMap::new(),
        }
    }

    pub fn of_stage(&mut self, kind: &str, stage: &str) -> Rc<Vec<Sample>> {
        let name = (kind.to_string(), stage.to_string());
        let read = || Rc::new(read(self.cache, kind, stage, OF_STAGE));
        self.of_stage.entry(name).or_insert_with(read).clone()
    }

    /// Of any stage of the kind.
    pub fn of_kind(&mut self, kind: &str) -> Rc<Vec<Sample>> {
        let read = || {
            let stages = self.cache.stages_of(kind, STAGES).unwrap_or_default();
            let samples = stages
                .iter()
                .flat_map(|stage| read(self.cache, kind, stage, OF_OTHERS));
            Rc::new(samples.collect())
        };
        self.of_kind
            .entry(kind.to_string())
            .or_insert_with(read)
            .clone()
    }
}

/// Records that cannot be read tell nothing.
fn read(cache: &dyn Reader, kind: &str, stage: &str, most: usize) -> Vec<Sample> {
    let records = cache.records_of(kind, stage).into_iter().flatten();
    let records = records.take(most);
    let samples: Vec<Sample> = records.map(|record| sample(cache, &record)).collect();
    let whole = |sample: &Sample| !sample.totals.contains_key(RESUMED);
    match samples.iter().any(whole) {
        true => samples.into_iter().filter(whole).collect(),
        false => samples,
    }
}

fn sample(cache: &dyn Reader, record: &Record) -> Sample {
    let mut totals = record.cost.totals.clone();
    if let Some(bytes) = source_bytes(cache, record) {
        totals.insert(SOURCE_BYTES.into(), bytes);
    }
    Sample {
        params: record.ingredients.params.to_string(),
        seconds: record.cost.wall_seconds,
        totals,
        on_gpu: record.provenance.device == "cuda",
    }
}

fn source_bytes(cache: &dyn Reader, record: &Record) -> Option<f64> {
    let inputs = record.ingredients.inputs.iter();
    let groups: Vec<_> = inputs
        .filter(|(port, _)| port.starts_with("source:"))
        .collect();
    if groups.is_empty() {
        return None;
    }
    let mut bytes = 0.0;
    for digest in groups.iter().flat_map(|(_, digests)| *digests) {
        let files = cache.kept_sources(digest)?;
        bytes += files.values().map(|file| file.size as f64).sum::<f64>();
    }
    Some(bytes)
}
