//! From stages as written to nodes: one for each stage, and one for each iteration of those in a
//! `repeat`. Parameters are resolved and checked here; references are still text.

use std::collections::BTreeMap;
use std::rc::Rc;

use serde_json::{Value, json};

use super::Loader;
use super::expr;
use super::model::{Written, WrittenRepeat, WrittenStage, join, key};
use super::place::Part;
use super::quantity::whole;
use super::schema::Checker;
use climb_contract::TaskName;
use climb_contract::count;
use climb_contract::diagnostic::{Diagnostic, Span};
use climb_contract::stage::{Input, Output, StageKind};

/// More nodes than this are nobody's workflow; many tasks of one stage are a `foreach`.
const MAX_NODES: usize = 200_000;

/// A task's name is that of its log, with `[item]` and a variant behind it.
const LONGEST_NAME: usize = 200;

/// A node whose references are not looked up yet.
pub struct Draft<'w> {
    pub name: TaskName,
    pub stage: String,
    /// The `repeat` it belongs to, and its iteration, from 1.
    pub iteration: Option<(String, usize)>,
    pub written: &'w WrittenStage,
    pub params: Value,
    pub inputs: Vec<Input>,
    pub outputs: Vec<Output>,
    pub param_spans: Vec<(String, Span)>,
    /// Its ports are unknown, as its kind is, or as they depend on parameters that are wrong: do
    /// not complain about its wiring too.
    pub broken: bool,
    /// By its `when`, or its `repeat`'s. It is here to be referred to, and becomes no node.
    pub left_out: bool,
}

impl<'w> Draft<'w> {
    fn new(written: &'w WrittenStage, iteration: Option<(&str, usize)>) -> Draft<'w> {
        let name = TaskName::of(iteration, &written.name);
        Draft {
            stage: name.stage(),
            name,
            iteration: iteration.map(|(repeat, i)| (repeat.to_string(), i)),
            written,
            params: Value::Null,
            inputs: Vec::new(),
            outputs: Vec::new(),
            param_spans: Vec::new(),
            broken: true,
            left_out: false,
        }
    }
}

impl Loader<'_> {
    pub fn unroll<'w>(&mut self, written: &'w [Written]) -> Vec<Draft<'w>> {
        let mut drafts = Vec::new();
        for item in written {
            match item {
                Written::Stage(stage) => drafts.push(self.draft(stage, None, &BTreeMap::new())),
                Written::Repeat(repeat) => drafts.extend(self.unroll_repeat(repeat, written)),
            }
        }
        drafts
    }

    fn unroll_repeat<'w>(
        &mut self,
        repeat: &'w WrittenRepeat,
        all: &'w [Written],
    ) -> Vec<Draft<'w>> {
        if !self.is_wanted(repeat.when.as_ref(), &repeat.path, &BTreeMap::new()) {
            let left_out = |stage: &'w WrittenStage| Draft {
                left_out: true,
                ..Draft::new(stage, Some((&repeat.name, 1)))
            };
            return repeat.stages.iter().map(left_out).collect();
        }
        let place = join(&join(&repeat.path, key("repeat")), key("over"));
        let Some(over) = self.resolve_plain(repeat.over.clone(), &place) else {
            return Vec::new();
        };
        let items: Vec<Value> = match &over {
            Value::Array(items) => items.clone(),
            Value::Number(_) if whole(&over).is_some_and(|n| n <= 10_000) => {
                (1..=whole(&over).unwrap_or(0)).map(|i| json!(i)).collect()
            }
            Value::Object(fields) => match self.runs_of_budget(repeat, fields, all) {
                Some(runs) => runs,
                None => return Vec::new(),
            },
            _ => {
                let message = "`over` must be a list, a number of iterations, or a budget";
                self.error_at(message, self.place.value(&place));
                return Vec::new();
            }
        };
        if items.is_empty() {
            self.error_at(
                "`over` is empty: there is nothing to repeat",
                self.place.value(&place),
            );
        }
        self.repeated = self
            .repeated
            .saturating_add(items.len() * repeat.stages.len());
        if self.repeated > MAX_NODES {
            let message = format!(
                "with its {} of {} the workflow has more than {MAX_NODES} stages",
                count(items.len(), "iteration"),
                count(repeat.stages.len(), "stage")
            );
            self.error_at(message, self.place.value(&place));
            return Vec::new();
        }
        let is_number = over.is_number() && items.len() > 1;
        let mut drafts = Vec::new();
        for (i, item) in items.into_iter().enumerate() {
            let mut variables = BTreeMap::from([("iteration".to_string(), json!(i + 1))]);
            if let Some(name) = &repeat.variable {
                variables.insert(name.clone(), item);
            }
            for stage in &repeat.stages {
                drafts.push(self.draft(stage, Some((&repeat.name, i + 1)), &variables));
            }
        }
        if is_number {
            self.warn_of_counting(&drafts, &place);
        }
        drafts
    }

    /// `over: 64` are the iterations 1 to 64. Whoever sizes a list by them may have meant one
    /// iteration of 64.
    fn warn_of_counting(&mut self, drafts: &[Draft], place: &[Part]) {
        let size = |draft: &Draft| {
            let kind = self.registry.get(&draft.written.uses)?;
            let known = !draft.params.is_null();
            known.then(|| kind.list_size(&draft.params)).flatten()
        };
        let iteration = |draft: &Draft| draft.iteration.as_ref().map(|(_, i)| *i);
        let counts = |stage: &str| {
            let mut of_it = drafts.iter().filter(|draft| draft.stage == stage);
            of_it.all(|draft| size(draft) == iteration(draft))
        };
        let Some(first) = drafts.iter().find(|draft| counts(&draft.stage)) else {
            return;
        };
        let last = drafts.iter().filter_map(iteration).max().unwrap_or(1);
        let message = format!(
            "a number stands for the iterations 1 to {last}, of which `{}` makes 1, 2, … and {last} \
             items",
            first.stage
        );
        let help = format!("for one iteration of {last} items write `[{last}]`");
        let span = self.place.value(place);
        self.problem(Diagnostic::warning(message).at(span).help(help));
    }

    /// What `when` says of the stage at `path`. True where it is wrong, which is reported.
    fn is_wanted(
        &mut self,
        when: Option<&Value>,
        path: &[Part],
        variables: &BTreeMap<String, Value>,
    ) -> bool {
        let Some(when) = when else { return true };
        let place = join(path, key("when"));
        match self.resolve(when.clone(), &place, variables) {
            None => true,
            Some(Value::Bool(wanted)) => wanted,
            Some(other) => {
                let message = format!("`when` must be true or false, and this is {other}");
                let problem = Diagnostic::error(message)
                    .at(self.place.value(&place))
                    .help("compare: `when: ${params.strategy == doremi}`");
                self.problem(problem);
                true
            }
        }
    }

    fn draft<'w>(
        &mut self,
        written: &'w WrittenStage,
        iteration: Option<(&str, usize)>,
        variables: &BTreeMap<String, Value>,
    ) -> Draft<'w> {
        let mut draft = Draft::new(written, iteration);
        if draft.name.len() > LONGEST_NAME {
            let message = format!(
                "`{}…` is a name of {} bytes: at most {LONGEST_NAME}",
                draft.name.chars().take(40).collect::<String>(),
                draft.name.len()
            );
            let problem = Diagnostic::error(message).at(written.span.clone());
            self.problem(problem.help("it is part of a file's name"));
        }
        if !self.is_wanted(written.when.as_ref(), &written.path, variables) {
            draft.left_out = true;
            return draft;
        }
        let Some(kind) = self.registry.get(&written.uses) else {
            return draft;
        };
        let wired = written.needs.iter().chain(&written.foreach);
        let wired: Vec<String> = wired.map(|need| need.port.clone()).collect();
        if !kind.ports_depend_on_params() {
            draft.inputs = kind.inputs(&Value::Null, &wired);
            draft.outputs = kind.outputs(&Value::Null);
            draft.broken = false;
        }
        let place = join(&written.path, key("with"));
        if self.pastes_into_programs(kind, written, variables) {
            return draft;
        }
        let Some(mut with) = self.resolve(written.with.clone(), &place, variables) else {
            return draft;
        };
        if !with.is_object() {
            return draft;
        }
        let misfits = self.checker(kind).settle(&mut with);
        for misfit in &misfits {
            let mut path = place.clone();
            path.extend(misfit.path.iter().cloned());
            let span = if misfit.at_key {
                self.place.key(&path)
            } else {
                self.place.value(&path)
            };
            let mut problem = Diagnostic::error(misfit.message.clone()).at(span);
            problem.help.clone_from(&misfit.help);
            self.problem(problem);
        }
        if !misfits.is_empty() {
            return draft;
        }
        self.spans_of(&with, &place, "", &mut draft.param_spans);
        match kind.complete(&with) {
            Ok(params) => draft.params = params,
            Err(error) => {
                self.error_at(format!("`with`: {error}"), self.place.value(&place));
                return draft;
            }
        }
        let mut problems = kind.problems(&draft.params);
        problems.extend(kind.problems_in(&draft.params, &wired, &self.base));
        for problem in problems {
            let problem = problem.place(&|field| self.field_span(field, &draft));
            self.problem(problem);
        }
        draft.inputs = kind.inputs(&draft.params, &wired);
        draft.outputs = kind.outputs(&draft.params);
        draft.broken = false;
        draft
    }

    /// Where a field of a stage stands: one of `with`, an item of a list in it (`run[1]`), or the
    /// wiring of a port (`needs.x`). The stage's name where it is not written.
    fn field_span(&self, field: &str, draft: &Draft) -> Span {
        let written = draft.written;
        if let Some((_, span)) = draft.param_spans.iter().find(|(name, _)| name == field) {
            return span.clone();
        }
        if let Some(port) = field.strip_prefix("needs.") {
            let mut needs = written.needs.iter().chain(&written.foreach);
            let need = needs.find(|need| need.port == port);
            return need.map_or(&written.span, |need| &need.port_span).clone();
        }
        match field.ends_with(']') {
            true => self.place.value(&field_path(written, field)),
            false => written.span.clone(),
        }
    }

    /// Whether an expression stands within the text of a program, which is reported: its value
    /// would be run.
    fn pastes_into_programs(
        &mut self,
        kind: &dyn StageKind,
        written: &WrittenStage,
        variables: &BTreeMap<String, Value>,
    ) -> bool {
        let mut pastes = false;
        for (field, text) in kind.program_texts(&written.with) {
            let Some(expression) = expr::first_value(&text, variables) else {
                continue;
            };
            let place = field_path(written, &field);
            let whole = expr::is_whole(&text);
            // A list of arguments is no line.
            if whole
                && matches!(
                    self.resolve(json!(text), &place, variables),
                    Some(Value::Array(_))
                )
            {
                continue;
            }
            let message = format!(
                "`${{{expression}}}` would be pasted into a line for the shell, which would run \
                 what is in it"
            );
            let name = expr::last_name(&expression);
            let help = match whole {
                true => "write the line here; what varies in it goes by `params`".to_string(),
                false => format!(
                    "hand it over as a value: `params: {{{name}: \"${{{expression}}}\"}}`, and \
                     \"$CLIMB_PARAM_{}\" in the line",
                    name.to_uppercase()
                ),
            };
            let span = self.place.value(&place);
            self.problem(Diagnostic::error(message).at(span).help(help));
            pastes = true;
        }
        pastes
    }

    /// The checker of a kind's parameters, made once.
    pub fn checker(&mut self, kind: &dyn StageKind) -> Rc<Checker> {
        let made = self.checkers.entry(kind.kind());
        made.or_insert_with(|| Rc::new(Checker::new(kind.schema())))
            .clone()
    }

    /// The place of every field of `with`, by dotted name.
    fn spans_of(&self, value: &Value, path: &[Part], name: &str, spans: &mut Vec<(String, Span)>) {
        for (field, inner) in value.as_object().into_iter().flatten() {
            let full = if name.is_empty() {
                field.clone()
            } else {
                format!("{name}.{field}")
            };
            let here = join(path, Part::Key(field.clone()));
            spans.push((full.clone(), self.place.value(&here)));
            self.spans_of(inner, &here, &full, spans);
        }
    }
}

/// The path to a field of `with`, or to an item of a list in it: `run`, `run[1]`.
fn field_path(written: &WrittenStage, field: &str) -> Vec<Part> {
    let with = join(&written.path, key("with"));
    let item = field.strip_suffix(']').and_then(|field| {
        let (list, index) = field.rsplit_once('[')?;
        Some((list, index.parse().ok()?))
    });
    match item {
        Some((list, index)) => join(&join(&with, key(list)), Part::Index(index)),
        None => join(&with, key(field)),
    }
}
