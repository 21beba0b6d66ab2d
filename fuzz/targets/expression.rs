//! `${…}` in parameters and in a stage, and a `--set`: three texts, parted by newlines.
#![no_main]

use climb_contract::command::CommandStage;
use climb_contract::stage::Registry;
use libfuzzer_sys::fuzz_target;

#[path = "../../tests/hostile/entry/workflow.rs"]
mod entry;

fuzz_target!(|text: &str| {
    let registry = Registry::new(vec![Box::new(CommandStage)]);
    let mut parts = text.splitn(3, '\n');
    let mut next = || parts.next().unwrap_or_default();
    let (a, b, c) = (next(), next(), next());
    entry::load(&entry::with_expressions(a, b, c), &[], &registry);
    let set = [(a.to_string(), b.to_string())];
    entry::load(&entry::with_expressions("1", "x", c), &set, &registry);
});
