//! Mixtures as one table, a row for each and a column for each cluster: what another trainer reads, and
//! what the stage `runs` reads again.

use std::path::Path;

use climb_cache::{Artifact, Record, look};
use climb_stages::formats::clusters::{ClusterSummary, Clusters};
use climb_stages::formats::mixture::Mixture;

use crate::failure::Failure;
use crate::story;
use crate::story::artifacts::Artifacts;

/// Whether a list of mixtures is to be such a table.
pub fn is_table(destination: &Path, artifact: &Artifact) -> bool {
    let is_csv = destination.extension().is_some_and(|ext| ext == "csv");
    is_csv && matches!(artifact, Artifact::Folder(_))
}

/// The table of a list of mixtures; clusters are named as in the run that made them.
pub fn table(
    cache: &Path,
    run: &str,
    record: &Record,
    artifact: &Artifact,
) -> Result<Vec<u8>, Failure> {
    let failed = |error: &dyn std::fmt::Display| Failure::Failed(format!("no table: {error}"));
    let mut rows = Vec::new();
    for (path, file) in artifact.files() {
        let bytes = look::bytes(cache, &record.key, &file).map_err(|error| failed(&error))?;
        let mixture: Mixture = serde_json::from_slice(&bytes)
            .map_err(|error| failed(&format!("`{path}` is no mixture: {error}")))?;
        rows.push((path.trim_end_matches(".json").to_string(), mixture));
    }
    let count = rows.first().map_or(0, |(_, mixture)| mixture.weights.len());
    let seeded = rows.iter().any(|(_, mixture)| mixture.seed.is_some());
    let clusters = story::result(cache, run);
    let clusters = clusters.and_then(|r| {
        let artifacts = Artifacts::in_run(&r, cache);
        artifacts.given::<Clusters>(&record.key, "clusters")
    });
    let names: Vec<String> = match clusters.filter(|known| known.clusters.len() == count) {
        Some(known) => known.clusters.iter().map(name).collect(),
        None => (0..count).map(|id| format!("cluster-{id}")).collect(),
    };
    let mut table = csv::Writer::from_writer(Vec::new());
    let seed = seeded.then(|| "seed".to_string());
    let head = std::iter::once("run".to_string()).chain(seed);
    let written = table.write_record(head.chain(names)).and_then(|()| {
        rows.into_iter().try_for_each(|(run, mixture)| {
            let seed = mixture.seed.map_or(String::new(), |seed| seed.to_string());
            let seed = seeded.then_some(seed);
            let weights = mixture.weights.iter().map(f64::to_string);
            table.write_record(std::iter::once(run).chain(seed).chain(weights))
        })
    });
    written.map_err(|error| failed(&error))?;
    table.into_inner().map_err(|error| failed(&error))
}

/// A domain that somebody else named keeps its name.
fn name(cluster: &ClusterSummary) -> String {
    let number = || format!("cluster-{}", cluster.id);
    cluster.domain().map_or_else(number, String::from)
}
