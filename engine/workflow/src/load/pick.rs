//! Which output a reference means, and which of its tasks.

use super::Loader;
use super::suggest;
use super::unroll::Draft;
use super::wiring::Target;
use crate::graph::{Axis, Select, Source};
use climb_contract::diagnostic::Diagnostic;
use climb_contract::stage::{Input, Output};

/// A type that fits every port: what a command makes when its author does not care.
pub(super) const ANY: &str = "any";

impl Loader<'_> {
    pub(super) fn source(
        &mut self,
        user: usize,
        node: usize,
        drafts: &[Draft],
        port: Option<&Input>,
        target: &Target,
        axes: &mut [Option<Axis>],
    ) -> Option<Source> {
        let maker = &drafts[node];
        if maker.broken || port.is_none() {
            // Reported already. Still give the user an axis, to spare it follow-up errors.
            if target.foreach {
                axes[user] = Some(axes[node].clone().unwrap_or(Axis {
                    node,
                    output: String::new(),
                }));
            }
            return None;
        }
        let port = port?;
        let output = self.pick_output(maker, port, target, axes[node].is_some())?;
        let fan = axes[node].clone();
        let select = match (target.all, target.foreach, fan) {
            (true, _, Some(_)) => Select::All,
            (true, _, None) => Select::Whole,
            (false, true, Some(axis)) => {
                axes[user] = Some(axis);
                Select::Aligned
            }
            (false, true, None) => {
                if output.items.is_none() {
                    let message = format!(
                        "`{}` is one artifact of type {}, not a list to map over",
                        target.text, output.ty
                    );
                    self.error_at(message, target.span.clone());
                    return None;
                }
                axes[user] = Some(Axis {
                    node,
                    output: output.name.clone(),
                });
                Select::Item
            }
            (false, false, None) => Select::Whole,
            (false, false, Some(axis)) if axes[user].as_ref() == Some(&axis) => Select::Aligned,
            (false, false, Some(_)) => {
                let message = format!("`{}` is many tasks, each with an output", target.text);
                let help = format!(
                    "take all of them with `all.{}`, or map over them with `foreach`",
                    target.text
                );
                self.problem(
                    Diagnostic::error(message)
                        .at(target.span.clone())
                        .help(help),
                );
                return None;
            }
        };
        Some(Source {
            node,
            output: output.name.clone(),
            select,
        })
    }

    /// The output a reference means: the named one, or the one that fits.
    fn pick_output<'d>(
        &mut self,
        maker: &'d Draft,
        port: &Input,
        target: &Target,
        fan: bool,
    ) -> Option<&'d Output> {
        // What a consumer would get: the items of a list that is mapped over.
        let given = |output: &'d Output| match (&output.items, target.foreach && !fan) {
            (Some(items), true) => items.as_str(),
            _ => output.ty.as_str(),
        };
        let fits = |output: &'d Output| {
            let ty = given(output);
            port.ty
                .as_deref()
                .is_none_or(|wanted| wanted == ty || wanted == ANY || ty == ANY)
        };
        let wanted = port.ty.as_deref().unwrap_or(ANY);
        let list = || {
            let outputs = maker.outputs.iter();
            let all: Vec<String> = outputs
                .map(|o| format!("{}.{} ({})", maker.written.name, o.name, o.ty))
                .collect();
            format!("its outputs: {}", all.join(", "))
        };
        let mut complain = |message: String, help: String| {
            self.problem(
                Diagnostic::error(message)
                    .at(target.span.clone())
                    .help(help),
            );
            None
        };
        if let Some(name) = &target.output {
            let Some(output) = maker.outputs.iter().find(|output| output.name == *name) else {
                let names = maker.outputs.iter().map(|output| output.name.as_str());
                let message = format!("`{}` has no output `{name}`", maker.written.name);
                return complain(message, suggest::help(name, names, "its outputs"));
            };
            if !fits(output) {
                let message = format!(
                    "`{}` is of type {}, but port `{}` wants {wanted}",
                    target.text,
                    given(output),
                    port.name
                );
                return complain(message, list());
            }
            return Some(output);
        }
        let fitting: Vec<&Output> = maker.outputs.iter().filter(|output| fits(output)).collect();
        match fitting[..] {
            [one] => Some(one),
            [] => {
                let made: Vec<&str> = maker.outputs.iter().map(|o| o.ty.as_str()).collect();
                let message = format!(
                    "port `{}` wants {wanted}, but `{}` makes {}",
                    port.name,
                    target.text,
                    if made.is_empty() {
                        "nothing".into()
                    } else {
                        made.join(", ")
                    }
                );
                complain(message, list())
            }
            _ => {
                let message = format!(
                    "`{}` has several outputs that fit `{}`",
                    target.text, port.name
                );
                complain(message, format!("name one; {}", list()))
            }
        }
    }
}
