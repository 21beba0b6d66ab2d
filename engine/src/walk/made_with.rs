//! What tasks are made with that is not in their keys: the kind of processor, the numeric library,
//! the programs and variables that a command finds. Records tell of it, and cached results made
//! otherwise than they would be today are pointed out.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};

use climb_cache::{CacheError, Digest, MadeWith, Program, Reader, Record};

use crate::graph::{Graph, Node};
use crate::stage::{Registry, StageKind};

/// What a task of this node would be made with now. `digest`: of a program's file.
pub fn now(
    kind: &dyn StageKind,
    node: &Node,
    base: &Path,
    digest: &mut dyn FnMut(&Path) -> Result<Digest, CacheError>,
) -> Result<MadeWith, CacheError> {
    let outside = kind.outside(&node.params, base);
    let mut programs = BTreeMap::new();
    for (name, path) in outside.programs {
        let digest = digest(&path)?;
        let path = path.display().to_string();
        programs.insert(name, Program { path, digest });
    }
    Ok(MadeWith {
        processor: Some(processor()),
        library: outside.library,
        build: None,
        programs,
        environment: outside.environment,
    })
}

/// The digest of a program's file.
pub fn digest(cache: &dyn Reader, path: &Path) -> Result<Digest, CacheError> {
    let digests = cache.source_digests(&[path.to_path_buf()])?;
    Ok(digests[0].0)
}

/// The architecture and the widest instructions there are, and what narrows them: numeric
/// libraries pick their code by these.
pub fn processor() -> String {
    let mut text = std::env::consts::ARCH.to_string();
    #[cfg(target_arch = "x86_64")]
    {
        let widest = [
            (is_x86_feature_detected!("avx512f"), "AVX-512"),
            (is_x86_feature_detected!("avx2"), "AVX2"),
            (is_x86_feature_detected!("avx"), "AVX"),
        ];
        if let Some((_, name)) = widest.iter().find(|(there, _)| *there) {
            text.push_str(&format!(" {name}"));
        }
    }
    for name in [
        "ATEN_CPU_CAPABILITY",
        "MKL_ENABLE_INSTRUCTIONS",
        "ONEDNN_MAX_CPU_ISA",
    ] {
        if let Some(value) = std::env::var_os(name) {
            text.push_str(&format!(", {name}={}", value.to_string_lossy()));
        }
    }
    text
}

/// What the tasks of each node would be made with now, found when it is asked for.
pub(crate) struct Today<'a> {
    graph: &'a Graph,
    registry: &'a Registry,
    cache: &'a dyn Reader,
    known: HashMap<usize, Option<MadeWith>>,
    /// Of programs: a cache that is only looked at remembers none.
    digests: HashMap<PathBuf, Digest>,
}

impl<'a> Today<'a> {
    pub fn new(graph: &'a Graph, registry: &'a Registry, cache: &'a dyn Reader) -> Today<'a> {
        Today {
            graph,
            registry,
            cache,
            known: HashMap::new(),
            digests: HashMap::new(),
        }
    }

    /// In what a record of the node differs from now, in words.
    pub fn differences(&mut self, id: usize, then: &MadeWith) -> Vec<String> {
        let told = then.library.is_some() || !then.programs.is_empty();
        if !told && then.environment.is_empty() {
            return Vec::new();
        }
        let (graph, registry, cache) = (self.graph, self.registry, self.cache);
        let digests = &mut self.digests;
        let mut digest = |path: &Path| match digests.get(path) {
            Some(known) => Ok(*known),
            None => digest(cache, path).inspect(|found| _ = digests.insert(path.into(), *found)),
        };
        let now = self.known.entry(id).or_insert_with(|| {
            let node = &graph.nodes[id];
            let kind = registry.get(&node.kind)?;
            now(kind, node, &graph.base_dir(), &mut digest).ok()
        });
        now.as_ref()
            .map_or(Vec::new(), |now| differences(then, now))
    }
}

/// In what two of the same ingredients were made otherwise, so that their bytes may differ.
pub fn differences(then: &MadeWith, now: &MadeWith) -> Vec<String> {
    let mut all = numeric_differences(then, now);
    all.extend(program_differences(then, now));
    let names = then.environment.keys().chain(now.environment.keys());
    let mut names: Vec<&String> = names.collect();
    names.sort();
    names.dedup();
    // Records without any are of an earlier version, or of another kind of stage.
    if !then.environment.is_empty() || !then.programs.is_empty() {
        let differing = names
            .into_iter()
            .filter_map(|name| variable(name, then, now));
        all.extend(differing);
    }
    all
}

fn numeric_differences(then: &MadeWith, now: &MadeWith) -> Vec<String> {
    if then.library.is_none() || now.library.is_none() {
        return Vec::new();
    }
    let mut all = Vec::new();
    for (what, then, now) in [
        ("processor", &then.processor, &now.processor),
        ("library", &then.library, &now.library),
    ] {
        if let (Some(then), Some(now)) = (then, now)
            && then != now
        {
            all.push(format!(
                "it was made on {then} and this is {now} ({what}): made here, its bytes may differ"
            ));
        }
    }
    all
}

fn program_differences(then: &MadeWith, now: &MadeWith) -> Vec<String> {
    let changed = then.programs.iter().filter_map(|(name, before)| {
        let now = now.programs.get(name)?;
        let text = match before.path == now.path {
            _ if before.digest == now.digest => return None,
            true => format!("it was made with another {} than there is today", now.path),
            false => format!(
                "it was made with {}, and today's is {}",
                before.path, now.path
            ),
        };
        Some(format!(
            "{text}, which is not in its key: `programs: [{name}]` puts it there"
        ))
    });
    changed.collect()
}

fn variable(name: &str, then: &MadeWith, now: &MadeWith) -> Option<String> {
    let value = |made: &MadeWith| made.environment.get(name).cloned();
    let (then, now) = (value(then), value(now));
    let show = |value: Option<String>| value.map_or("unset".into(), |value| format!("`{value}`"));
    (then != now).then(|| {
        format!(
            "it was made with {name} {}, and today it is {}, which is not in its key: \
             `pass_env: [{name}]` puts it there",
            show(then),
            show(now)
        )
    })
}

/// What a run says of cached results made with other programs, each thing once.
#[derive(Default)]
pub(crate) struct Surprises {
    today: HashMap<usize, Option<MadeWith>>,
    told: HashSet<String>,
}

impl Surprises {
    /// The warning for a cached task of this node, if there is one to give. `now`: what it would
    /// be made with.
    pub fn of(
        &mut self,
        node: usize,
        record: &Record,
        now: impl FnOnce() -> Option<MadeWith>,
    ) -> Option<String> {
        let then = &record.provenance.made_with;
        if then.programs.is_empty() && !then.environment.contains_key(VENV) {
            return None;
        }
        let now = self.today.entry(node).or_insert_with(now).as_ref()?;
        let mut all = program_differences(then, now);
        all.extend(variable(VENV, then, now));
        all.retain(|text| self.told.insert(text.clone()));
        let first = (!all.is_empty()).then(|| all.join("; "))?;
        Some(format!("a cached result is taken, though {first}"))
    }
}

const VENV: &str = "VIRTUAL_ENV";

#[cfg(test)]
mod tests {
    use super::*;

    fn made_with(tool: &str, venv: Option<&str>) -> MadeWith {
        let program = Program {
            path: tool.into(),
            digest: Digest::of(tool.as_bytes()),
        };
        let venv = venv.map(|venv| (VENV.to_string(), venv.to_string()));
        MadeWith {
            programs: BTreeMap::from([("tool".to_string(), program)]),
            environment: venv.into_iter().collect(),
            ..MadeWith::default()
        }
    }

    #[test]
    fn other_programs_and_variables_are_told_with_what_to_do() {
        let then = made_with("/a/tool", Some("/venv1"));
        assert!(differences(&then, &then).is_empty());
        let told = differences(&then, &made_with("/b/tool", None));
        assert_eq!(told.len(), 2, "{told:?}");
        for part in ["/a/tool", "/b/tool", "`programs: [tool]`"] {
            assert!(told[0].contains(part), "{told:?}");
        }
        for part in ["VIRTUAL_ENV `/venv1`", "unset", "`pass_env: [VIRTUAL_ENV]`"] {
            assert!(told[1].contains(part), "{told:?}");
        }
        // An old record says nothing of it.
        assert!(differences(&MadeWith::default(), &then).is_empty());
    }

    #[test]
    fn another_processor_matters_where_numbers_are_computed() {
        let made = |processor: &str, library: Option<&str>| MadeWith {
            processor: Some(processor.into()),
            library: library.map(String::from),
            ..MadeWith::default()
        };
        let (old, new) = (
            made("x86_64 AVX2", Some("lib 1")),
            made("x86_64 AVX-512", Some("lib 1")),
        );
        assert_eq!(differences(&old, &new).len(), 1);
        assert!(differences(&old, &new)[0].contains("x86_64 AVX2"));
        assert!(differences(&made("x86_64 AVX2", None), &made("x86_64", None)).is_empty());
    }
}
