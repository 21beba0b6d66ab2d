//! `climb stages`.

use climb_engine::catalog::{self, KindDoc, ParamDoc};
use climb_engine::diagnostic::Diagnostic;
use climb_engine::stage::Registry;
use serde_json::Value;

use crate::common;
use crate::failure::Failure;
use crate::render::{self, text};

const WIDTH: usize = 80;

/// List the stage kinds, or document one
///
/// For a kind: its input and output ports with their types, its parameters with types, ranges and
/// defaults, its version (part of the task key), and a stage to start from.
///
/// Example: climb stages kmeans
#[derive(clap::Args)]
pub struct Args {
    /// The kind to document
    kind: Option<String>,

    /// Print it as JSON
    #[arg(long)]
    json: bool,
}

pub fn run(args: Args) -> Result<(), Failure> {
    let registry = common::registry();
    match &args.kind {
        Some(name) => one(name, &registry, args.json),
        None => {
            all(&registry, args.json);
            Ok(())
        }
    }
}

fn all(registry: &Registry, json: bool) {
    let kinds = catalog::all(registry);
    if json {
        return render::json(&kinds);
    }
    let width = kinds.iter().map(|kind| kind.kind.len()).max().unwrap_or(0);
    for kind in &kinds {
        entry(&kind.kind, width, &kind.doc);
    }
    println!("\n`climb stages KIND` documents one.");
}

fn one(name: &str, registry: &Registry, json: bool) -> Result<(), Failure> {
    let Some(kind) = registry.get(name) else {
        let help = climb_engine::load::suggest_kind(name, registry);
        let error = Diagnostic::error(format!("there is no stage kind `{name}`"));
        return Err(error.help(help).into());
    };
    let doc = catalog::describe(kind, registry);
    if json {
        render::json(&doc);
    } else {
        print(&doc);
    }
    Ok(())
}

fn print(kind: &KindDoc) {
    println!("{} (version {})\n", kind.kind, kind.version);
    paragraph(&kind.doc, 0);
    ports(kind);
    if !kind.params.is_empty() {
        println!("\nParameters (`with:`)");
        kind.params.iter().for_each(param);
    }
    println!("\nExample\n{}", kind.example.trim_end());
}

fn ports(kind: &KindDoc) {
    if kind.own_ports {
        println!("\nPorts\n  You name them: see `inputs` and `outputs` below.");
        return;
    }
    if !kind.inputs.is_empty() {
        println!("\nInputs (`needs:`, `foreach:`)");
    }
    for port in &kind.inputs {
        let takes = match port.takes {
            "optional" => ", optional",
            "many" => ", takes many",
            _ => "",
        };
        println!("  {}: {}{takes}", port.name, port.ty);
        paragraph(&port.doc, 6);
    }
    if !kind.outputs.is_empty() {
        println!("\nOutputs");
    }
    for port in &kind.outputs {
        let items = port.items.as_ref();
        let items = items.map_or(String::new(), |items| format!(", a list of {items}"));
        println!("  {}: {}{items}", port.name, port.ty);
        paragraph(&port.doc, 6);
    }
}

fn param(param: &ParamDoc) {
    let default = match &param.default {
        Some(Value::String(text)) if !text.is_empty() => format!(" (default {text})"),
        Some(value) => format!(" (default {value})"),
        None => String::new(),
    };
    let head = format!("{}: {}{default}", param.name, param.ty);
    for (i, line) in text::wrap(&head, WIDTH - 6).iter().enumerate() {
        println!("{}{line}", if i == 0 { "  " } else { "      " });
    }
    paragraph(&param.doc, 6);
    for choice in param.choices.iter().filter(|choice| !choice.doc.is_empty()) {
        let value = choice
            .value
            .as_str()
            .map_or(choice.value.to_string(), String::from);
        paragraph(&format!("{value}: {}", choice.doc), 8);
    }
}

/// A name, and what it is beside it.
fn entry(name: &str, width: usize, doc: &str) {
    for (i, line) in text::wrap(doc, WIDTH - width - 2).iter().enumerate() {
        let name = if i == 0 { name } else { "" };
        println!("{name:<width$}  {line}");
    }
}

fn paragraph(doc: &str, indent: usize) {
    for line in text::wrap(doc, WIDTH - indent) {
        println!("{:indent$}{line}", "");
    }
}
