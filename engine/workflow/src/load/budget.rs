//! `over: {budget: …, allocation: "4:2:1", unit: …}`: runs of each iteration from a compute budget.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::Loader;
use super::model::{Written, WrittenRepeat, WrittenStage, join, key};
use super::place::Part;
use super::schema::Checker;
use crate::budget::{Budget, Unit, affordable, shares, split};
use climb_contract::count;
use climb_contract::diagnostic::{Diagnostic, Span};

/// A compute budget and how the iterations share it.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BudgetSection {
    /// How much all iterations may use together, in `unit`. Never exceeded.
    #[schemars(range(min = 0.0))]
    pub budget: f64,
    /// The iterations' shares: `4:2:1`, or a list. An iteration with the share 0 is left out.
    pub allocation: Allocation,
    /// What the budget counts: runs (tasks of the body's fan-outs), tokens or flops.
    #[serde(default)]
    pub unit: Unit,
    /// What one run costs, in `unit`; by default what the fan-outs' stages say of themselves.
    #[serde(default)]
    pub per_run: Option<f64>,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Allocation {
    Text(String),
    List(Vec<f64>),
}

impl Loader<'_> {
    /// The runs of each iteration. `None` (and a report) where the budget is wrong.
    pub fn runs_of_budget(
        &mut self,
        repeat: &WrittenRepeat,
        fields: &Map<String, Value>,
        all: &[Written],
    ) -> Option<Vec<Value>> {
        let place = join(&join(&repeat.path, key("repeat")), key("over"));
        let section = self.budget_section(fields, &place)?;
        let span = |name: &str| self.place.value(&join(&place, key(name)));
        let (at_budget, at_allocation) = (span("budget"), span("allocation"));
        let given = match &section.allocation {
            Allocation::Text(text) => shares(text),
            Allocation::List(list) => Some(list.clone()),
        };
        let good = |list: &Vec<f64>| {
            list.iter().all(|s| *s >= 0.0 && s.is_finite()) && list.iter().any(|s| *s > 0.0)
        };
        let Some(given) = given.filter(good) else {
            self.error_at(
                "`allocation` must be shares such as \"4:2:1\", none negative and not all 0",
                at_allocation,
            );
            return None;
        };
        let per_run = self.per_run(repeat, &section, all, &place)?;
        let affordable = affordable(section.budget, per_run);
        let Some(runs) = split(affordable, &given) else {
            let needed = given.iter().filter(|share| **share > 0.0).count();
            let message = format!(
                "a budget of {} {} pays for {}, but {needed} iterations need one each",
                section.budget,
                section.unit,
                count(affordable, "run")
            );
            let help = match section.unit {
                Unit::Runs => "raise `budget`, or allocate it to fewer iterations".into(),
                unit => format!("one run costs {per_run:.3e} {unit}: raise `budget`"),
            };
            self.problem(Diagnostic::error(message).at(at_budget).help(help));
            return None;
        };
        let runs: Vec<u64> = runs.into_iter().filter(|runs| *runs > 0).collect();
        self.budgets.push(Budget {
            repeat: repeat.name.clone(),
            unit: section.unit,
            budget: section.budget,
            per_run,
            runs: runs.clone(),
        });
        Some(runs.into_iter().map(|runs| json!(runs)).collect())
    }

    fn budget_section(
        &mut self,
        fields: &Map<String, Value>,
        place: &[Part],
    ) -> Option<BudgetSection> {
        let value = Value::Object(fields.clone());
        self.fits(
            &schemars::schema_for!(BudgetSection).to_value(),
            &value,
            place,
        )
        .then_some(())?;
        match BudgetSection::deserialize(&value) {
            Ok(section) => Some(section),
            Err(error) => {
                self.error_at(format!("`over`: {error}"), self.place.value(place));
                None
            }
        }
    }

    /// Whether `value` fits the schema; reports where it does not.
    pub fn fits(&mut self, schema: &Value, value: &Value, place: &[Part]) -> bool {
        let misfits = Checker::new(schema.clone()).misfits(value);
        for misfit in &misfits {
            let mut path = place.to_vec();
            path.extend(misfit.path.iter().cloned());
            let span: Span = match misfit.at_key {
                true => self.place.key(&path),
                false => self.place.value(&path),
            };
            let mut problem = Diagnostic::error(misfit.message.clone()).at(span);
            problem.help.clone_from(&misfit.help);
            self.problem(problem);
        }
        misfits.is_empty()
    }

    fn per_run(
        &mut self,
        repeat: &WrittenRepeat,
        section: &BudgetSection,
        all: &[Written],
        place: &[Part],
    ) -> Option<f64> {
        if let Some(given) = section.per_run {
            if given > 0.0 && given.is_finite() {
                return Some(given);
            }
            let span = self.place.value(&join(place, key("per_run")));
            self.error_at("`per_run` must be a positive number", span);
            return None;
        }
        let Some(total) = section.unit.total() else {
            return Some(1.0);
        };
        // The loop's variable is a number of runs that nobody knows yet; a proxy's cost is no
        // function of it.
        let mut variables = BTreeMap::from([("iteration".to_string(), json!(1))]);
        if let Some(name) = &repeat.variable {
            variables.insert(name.clone(), json!(1));
        }
        let fans: Vec<&WrittenStage> = repeat
            .stages
            .iter()
            .filter(|stage| stage.foreach.is_some())
            .collect();
        let mut sum = 0.0;
        for stage in fans {
            let Some(kind) = self.registry.get(&stage.uses) else {
                continue;
            };
            let Some(params) = self.params_of(stage, &variables) else {
                continue;
            };
            let upstream = |wanted: &str| self.params_of_kind(all, repeat, wanted);
            sum += kind.cost(&params, &upstream).get(total).unwrap_or(&0.0);
            let Some(chain) = kind.chain(&params) else {
                continue;
            };
            let links = self.registry.get(chain.kind);
            let links = links.into_iter().flat_map(|kind| {
                let costs = chain.links.iter().map(|link| kind.cost(link, &upstream));
                costs.collect::<Vec<_>>()
            });
            sum += links
                .filter_map(|cost| cost.get(total).copied())
                .sum::<f64>();
        }
        if sum > 0.0 {
            return Some(sum);
        }
        let message = format!(
            "the stages of `{}` do not say how many {} a run costs",
            repeat.name, section.unit
        );
        let problem = Diagnostic::error(message).at(self.place.key(&join(place, key("unit"))));
        self.problem(problem.help("give it as `per_run`, or count in `unit: runs`"));
        None
    }

    /// Completed parameters of a stage as written; `None` where they are wrong, which is reported
    /// when the stage itself is read.
    fn params_of(
        &self,
        stage: &WrittenStage,
        variables: &BTreeMap<String, Value>,
    ) -> Option<Value> {
        let mut quiet = Loader::new(self.registry, self.env, self.place.clone());
        quiet.params = self.params.clone();
        let kind = self.registry.get(&stage.uses)?;
        let mut with = quiet.resolve(stage.with.clone(), &[], variables)?;
        if !Checker::new(kind.schema()).settle(&mut with).is_empty() {
            return None;
        }
        kind.complete(&with).ok()
    }

    /// Parameters of the first stage of a kind, outside of `repeat`s.
    fn params_of_kind(&self, all: &[Written], repeat: &WrittenRepeat, kind: &str) -> Option<Value> {
        let outside = all.iter().filter_map(|written| match written {
            Written::Stage(stage) => Some(stage),
            Written::Repeat(_) => None,
        });
        let stage = outside
            .chain(&repeat.stages)
            .find(|stage| stage.uses == kind)?;
        self.params_of(stage, &BTreeMap::new())
    }
}
