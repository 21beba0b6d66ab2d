//! Which variants a sweep has. The words and their meaning are those of GitHub Actions' matrix.

use serde_json::Value;

use super::names;
use climb_contract::diagnostic::Span;

/// More variants than this are a slip of the pen.
pub const MAX_VARIANTS: usize = 1000;

/// One thing that a variant sets: a dotted name, as in `--set`, and its value.
#[derive(Clone, Debug)]
pub struct Setting {
    pub name: String,
    pub value: Value,
    /// Where it is written; `None`: on the command line.
    pub span: Option<Span>,
}

/// In the order in which they were written; no name twice.
pub type Settings = Vec<Setting>;

/// Every variant runs once with each of these.
#[derive(Clone, Debug)]
pub struct Seeds {
    /// The parameter that takes them; its value means nothing.
    pub param: Setting,
    pub values: Vec<Value>,
}

/// A sweep as written.
#[derive(Clone, Debug, Default)]
pub struct Spec {
    /// Each axis (its own value means nothing) and its values.
    pub matrix: Vec<(Setting, Vec<Value>)>,
    pub exclude: Vec<Settings>,
    pub include: Vec<Settings>,
    pub variants: Vec<(String, Settings)>,
    pub seeds: Option<Seeds>,
}

/// One workflow of the sweep.
#[derive(Clone, Debug)]
pub struct Variant {
    /// Its row in the table: all seeds of a variant have the same.
    pub row: String,
    /// Whether somebody chose that name.
    pub is_named: bool,
    /// What it sets, the seed last where there is one.
    pub settings: Settings,
    pub seed: Option<Value>,
}

impl Variant {
    /// `clusters=48,proxy=62M,seed=2`: its name among all variants.
    pub fn name(&self) -> String {
        match &self.seed {
            None => self.row.clone(),
            Some(seed) => format!("{},seed={}", self.row, names::brief(seed)),
        }
    }
}

impl Spec {
    /// Adds an axis, or replaces the one of that name (`--over`).
    pub fn set_axis(&mut self, axis: Setting, values: Vec<Value>) {
        let same = self
            .matrix
            .iter_mut()
            .find(|(old, _)| old.name == axis.name);
        match same {
            Some(old) => *old = (axis, values),
            None => self.matrix.push((axis, values)),
        }
    }

    /// Every variant, named; first the matrix, its last axis running fastest, then what `include`
    /// adds, then the named ones. Fails where there are none or too many.
    pub fn expand(&self) -> Result<Vec<Variant>, String> {
        let per_seed = self.seeds.as_ref().map_or(1, |seeds| seeds.values.len());
        let sizes = self.matrix.iter().map(|(_, values)| values.len());
        let product = sizes.fold(1usize, usize::saturating_mul);
        if product.saturating_mul(per_seed) > MAX_VARIANTS {
            return Err(format!(
                "the matrix has {product} combinations: at most {MAX_VARIANTS} variants are run"
            ));
        }
        let mut unnamed = self.matrix_with_includes();
        keep_first(&mut unnamed);
        let vocabulary = names::vocabulary(&unnamed);
        let mut rows: Vec<String> = unnamed
            .iter()
            .map(|settings| names::of_settings(settings, &vocabulary))
            .collect();
        let count = rows.len();
        rows.extend(self.variants.iter().map(|(name, _)| name.clone()));
        names::make_unique(&mut rows);
        let all = unnamed
            .into_iter()
            .chain(self.variants.iter().map(|(_, settings)| settings.clone()));
        let variants: Vec<Variant> = rows
            .into_iter()
            .zip(all)
            .enumerate()
            .flat_map(|(i, (row, settings))| {
                let is_named = i >= count;
                let seed = None;
                self.seeded(Variant {
                    row,
                    is_named,
                    settings,
                    seed,
                })
            })
            .collect();
        match variants.len() {
            0 => Err("the sweep has no variants".into()),
            n if n > MAX_VARIANTS => Err(format!(
                "the sweep has {n} variants: at most {MAX_VARIANTS} are run"
            )),
            _ => Ok(variants),
        }
    }

    fn seeded(&self, variant: Variant) -> Vec<Variant> {
        let Some(seeds) = &self.seeds else {
            return vec![variant];
        };
        let one = |seed: &Value| {
            let mut one = variant.clone();
            one.settings.retain(|own| own.name != seeds.param.name);
            one.settings.push(Setting {
                value: seed.clone(),
                ..seeds.param.clone()
            });
            one.seed = Some(seed.clone());
            one
        };
        seeds.values.iter().map(one).collect()
    }

    fn matrix_with_includes(&self) -> Vec<Settings> {
        let mut combinations = self.combinations();
        combinations.retain(|combination| {
            let excluded = |entry: &Settings| {
                !entry.is_empty() && entry.iter().all(|setting| has(combination, setting))
            };
            !self.exclude.iter().any(excluded)
        });
        // What an entry adds may be changed by a later one; the matrix's own values may not.
        let originals = combinations.clone();
        let mut added = Vec::new();
        for entry in &self.include {
            let mut fits_some = false;
            for (combination, original) in combinations.iter_mut().zip(&originals) {
                let changes = |setting: &Setting| {
                    let own = original.iter().find(|own| own.name == setting.name);
                    own.is_some_and(|own| own.value != setting.value)
                };
                if entry.iter().any(changes) {
                    continue;
                }
                fits_some = true;
                for setting in entry {
                    combination.retain(|own| own.name != setting.name || has(original, own));
                    if !has(combination, setting) {
                        combination.push(setting.clone());
                    }
                }
            }
            if !fits_some {
                added.push(entry.clone());
            }
        }
        combinations.extend(added);
        combinations
    }

    fn combinations(&self) -> Vec<Settings> {
        if self.matrix.is_empty() {
            return Vec::new();
        }
        let mut all: Vec<Settings> = vec![Vec::new()];
        for (axis, values) in &self.matrix {
            let with_each = |settings: &Settings| -> Vec<Settings> {
                let with = |value: &Value| {
                    let value = value.clone();
                    let mut longer = settings.clone();
                    longer.push(Setting {
                        value,
                        ..axis.clone()
                    });
                    longer
                };
                values.iter().map(with).collect()
            };
            all = all.iter().flat_map(with_each).collect();
        }
        all
    }
}

fn has(settings: &Settings, wanted: &Setting) -> bool {
    settings
        .iter()
        .any(|own| own.name == wanted.name && own.value == wanted.value)
}

/// Leaves out variants that set the same as an earlier one.
fn keep_first(all: &mut Vec<Settings>) {
    let mut kept: Vec<Settings> = Vec::new();
    for settings in all.drain(..) {
        let same = |other: &Settings| {
            other.len() == settings.len() && settings.iter().all(|setting| has(other, setting))
        };
        if !kept.iter().any(same) {
            kept.push(settings);
        }
    }
    *all = kept;
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn setting(name: &str, value: Value) -> Setting {
        let (name, span) = (name.to_string(), None);
        Setting { name, value, span }
    }

    fn axis(name: &str, values: &[&str]) -> (Setting, Vec<Value>) {
        let values = values.iter().map(|v| json!(v)).collect();
        (setting(name, Value::Null), values)
    }

    fn rows(spec: &Spec) -> Vec<String> {
        let variants = spec.expand().unwrap();
        variants.iter().map(Variant::name).collect()
    }

    #[test]
    fn the_last_axis_runs_fastest_and_excluded_ones_are_left_out() {
        let spec = Spec {
            matrix: vec![
                axis("params.a", &["1", "2"]),
                axis("params.b", &["x", "y", "z"]),
            ],
            exclude: vec![
                vec![setting("params.b", json!("z"))],
                vec![
                    setting("params.a", json!("2")),
                    setting("params.b", json!("y")),
                ],
            ],
            ..Spec::default()
        };
        assert_eq!(rows(&spec), ["a=1,b=x", "a=1,b=y", "a=2,b=x"]);
    }

    /// The example of GitHub's own documentation ("expanding or adding matrix configurations").
    #[test]
    fn include_means_what_it_means_in_github_actions() {
        let spec = Spec {
            matrix: vec![
                axis("params.fruit", &["apple", "pear"]),
                axis("params.animal", &["cat", "dog"]),
            ],
            include: vec![
                vec![setting("params.color", json!("green"))],
                vec![
                    setting("params.color", json!("pink")),
                    setting("params.animal", json!("cat")),
                ],
                vec![
                    setting("params.fruit", json!("apple")),
                    setting("params.shape", json!("circle")),
                ],
                vec![setting("params.fruit", json!("banana"))],
                vec![
                    setting("params.fruit", json!("banana")),
                    setting("params.animal", json!("cat")),
                ],
            ],
            ..Spec::default()
        };
        let mut found = rows(&spec);
        found.sort();
        let mut wanted = [
            "fruit=apple,animal=cat,color=pink,shape=circle",
            "fruit=apple,animal=dog,color=green,shape=circle",
            "fruit=pear,animal=cat,color=pink",
            "fruit=pear,animal=dog,color=green",
            "fruit=banana",
            "fruit=banana,animal=cat",
        ];
        wanted.sort_unstable();
        assert_eq!(found, wanted);
    }

    #[test]
    fn seeds_multiply_variants_but_not_rows() {
        let seeds = Seeds {
            param: setting("params.seed", Value::Null),
            values: vec![json!(1), json!(2)],
        };
        let spec = Spec {
            variants: vec![
                ("small".into(), vec![setting("params.k", json!(4))]),
                ("large".into(), vec![setting("params.k", json!(8))]),
            ],
            seeds: Some(seeds),
            ..Spec::default()
        };
        let names = [
            "small,seed=1",
            "small,seed=2",
            "large,seed=1",
            "large,seed=2",
        ];
        assert_eq!(rows(&spec), names);
        let variants = spec.expand().unwrap();
        assert_eq!(variants[1].row, "small");
        assert_eq!(variants[1].settings[1].value, json!(2));
    }

    #[test]
    fn nothing_and_too_much_are_refused() {
        assert!(Spec::default().expand().is_err());
        let many: Vec<String> = (0..40).map(|i| i.to_string()).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let spec = Spec {
            matrix: vec![axis("params.a", &many), axis("params.b", &many)],
            ..Spec::default()
        };
        let error = spec.expand().unwrap_err();
        assert!(error.contains("1600 combinations"), "{error}");
    }

    #[test]
    fn equal_variants_are_one() {
        let spec = Spec {
            matrix: vec![axis("params.a", &["1", "1", "2"])],
            ..Spec::default()
        };
        assert_eq!(rows(&spec), ["a=1", "a=2"]);
    }
}
