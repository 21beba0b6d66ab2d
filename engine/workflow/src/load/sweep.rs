//! The `sweep:` section of a workflow.

use std::collections::BTreeMap;
use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::model::{join, key};
use super::place::Part;
use super::{Loader, Outside, extends, suggest};
use crate::sweep::{Seeds, Setting, Settings, Spec, is_variant_name};
use climb_contract::diagnostic::Diagnostic;
use climb_contract::stage::Registry;

/// Variants of the workflow, for `climb sweep`. Names are dotted, as in `--set`:
/// `params.clusters`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SweepSection {
    /// Every combination of these values is a variant.
    pub matrix: BTreeMap<String, Vec<Value>>,
    /// Combinations to leave out: those that have all the values of one entry.
    pub exclude: Vec<BTreeMap<String, Value>>,
    /// An entry adds its values to the combinations of the matrix whose own values it does not
    /// change; where there are none, it is a variant more.
    pub include: Vec<BTreeMap<String, Value>>,
    /// More variants, with names of their own.
    pub variants: BTreeMap<String, BTreeMap<String, Value>>,
    /// Every variant runs once with each; their results are one row.
    pub seeds: Vec<Value>,
    /// The parameter that takes them: `params.seed`.
    pub seed: Option<String>,
}

/// The `sweep:` section of a workflow's text, or of a file with nothing else in it. `None`: it has
/// none.
pub fn read_sweep(
    text: &str,
    file: &Path,
    registry: &Registry,
    outside: Outside,
) -> Result<Option<Spec>, Vec<Diagnostic>> {
    let (value, place) = extends::read(text, file, outside.read)?;
    let mut loader = Loader::new(registry, outside.env, place);
    let spec = value.get("sweep").and_then(|section| loader.sweep(section));
    match loader.has_errors() {
        true => Err(loader.problems),
        false => Ok(spec),
    }
}

impl Loader<'_> {
    /// Reads and checks the section. Whether the names are there to be set shows when a variant is
    /// loaded.
    pub fn sweep(&mut self, section: &Value) -> Option<Spec> {
        let place = vec![key("sweep")];
        if section.is_null() {
            return None;
        }
        let schema = schemars::schema_for!(SweepSection).to_value();
        if !self.fits(&schema, section, &place) {
            return None;
        }
        let read = match SweepSection::deserialize(section) {
            Ok(read) => read,
            Err(error) => {
                self.error_at(format!("`sweep`: {error}"), self.place.value(&place));
                return None;
            }
        };
        let mut matrix: Vec<(Setting, Vec<Value>)> = Vec::new();
        let axes = join(&place, key("matrix"));
        for setting in self.settings(read.matrix.iter().map(|(n, v)| (n, v.clone())), &axes) {
            let Setting { name, value, span } = setting;
            let values = value.as_array().cloned().unwrap_or_default();
            if values.is_empty() {
                let message = format!("`{name}` has no values to sweep over");
                self.error_at(message, span.unwrap_or_default());
                continue;
            }
            let value = Value::Null;
            matrix.push((Setting { name, value, span }, values));
        }
        let exclude = self.entries(&read.exclude, &join(&place, key("exclude")));
        self.check_excluded(&exclude, &matrix);
        let include = self.entries(&read.include, &join(&place, key("include")));
        let variants = self.named(read.variants, &join(&place, key("variants")));
        let seeds = self.seeds(read.seeds, read.seed, &place);
        Some(Spec {
            matrix,
            exclude,
            include,
            variants,
            seeds,
        })
    }

    /// Settings in the file's order; serde_json's maps are sorted.
    fn settings<'v, V: Into<Value>>(
        &self,
        fields: impl Iterator<Item = (&'v String, V)>,
        path: &[Part],
    ) -> Settings {
        let mut settings: Settings = fields
            .map(|(name, value)| Setting {
                name: name.clone(),
                value: value.into(),
                span: Some(self.place.key(&join(path, Part::Key(name.clone())))),
            })
            .collect();
        let at = |s: &Setting| s.span.as_ref().map(|span| (span.line, span.column));
        settings.sort_by_key(at);
        settings
    }

    fn entries(&self, list: &[BTreeMap<String, Value>], path: &[Part]) -> Vec<Settings> {
        let one = |(i, fields): (usize, &BTreeMap<String, Value>)| {
            let fields = fields.iter().map(|(n, v)| (n, v.clone()));
            self.settings(fields, &join(path, Part::Index(i)))
        };
        list.iter().enumerate().map(one).collect()
    }

    fn check_excluded(&mut self, exclude: &[Settings], matrix: &[(Setting, Vec<Value>)]) {
        for setting in exclude.iter().flatten() {
            let span = setting.span.clone().unwrap_or_default();
            let Some((_, values)) = matrix.iter().find(|(axis, _)| axis.name == setting.name)
            else {
                let names = matrix.iter().map(|(axis, _)| axis.name.as_str());
                let help = suggest::help(&setting.name, names, "axes of the matrix");
                let message = format!("`exclude`: `{}` is not in the matrix", setting.name);
                self.problem(Diagnostic::error(message).at(span).help(help));
                continue;
            };
            if !values.contains(&setting.value) {
                let message = format!(
                    "`exclude`: the matrix has no {} in `{}`, so this leaves nothing out",
                    setting.value, setting.name
                );
                self.problem(Diagnostic::warning(message).at(span));
            }
        }
    }

    fn named(
        &mut self,
        variants: BTreeMap<String, BTreeMap<String, Value>>,
        path: &[Part],
    ) -> Vec<(String, Settings)> {
        let mut named = Vec::new();
        for (name, fields) in variants {
            let here = join(path, Part::Key(name.clone()));
            let span = self.place.key(&here);
            if !is_variant_name(&name) {
                let message = format!(
                    "`{name}` is no variant's name: at most 80 characters, none of / [ ] {{ }}"
                );
                self.error_at(message, span);
                continue;
            }
            let settings = self.settings(fields.iter().map(|(n, v)| (n, v.clone())), &here);
            named.push(((span.line, span.column), name, settings));
        }
        named.sort_by_key(|(at, ..)| *at);
        named.into_iter().map(|(_, n, s)| (n, s)).collect()
    }

    fn seeds(
        &mut self,
        values: Vec<Value>,
        param: Option<String>,
        place: &[Part],
    ) -> Option<Seeds> {
        let at = |name: &str| self.place.key(&join(place, key(name)));
        let (seeds, seed) = (at("seeds"), at("seed"));
        match (values.is_empty(), param) {
            (true, None) => None,
            (true, Some(_)) => {
                self.error_at("`seed` names a parameter, but there are no `seeds`", seed);
                None
            }
            (false, None) => {
                let problem = Diagnostic::error("`seeds`: no parameter takes them").at(seeds);
                self.problem(problem.help("name it: `seed: params.seed`"));
                None
            }
            (false, Some(name)) => {
                let (value, span) = (Value::Null, Some(seed));
                let param = Setting { name, value, span };
                Some(Seeds { param, values })
            }
        }
    }
}
