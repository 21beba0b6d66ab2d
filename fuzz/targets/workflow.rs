//! A workflow's text, with `command` as the only kind of stage.
#![no_main]

use climb_contract::command::CommandStage;
use climb_contract::stage::Registry;
use libfuzzer_sys::fuzz_target;

#[path = "../../tests/hostile/entry/workflow.rs"]
#[allow(dead_code)]
mod entry;

fuzz_target!(|text: &str| {
    let registry = Registry::new(vec![Box::new(CommandStage)]);
    entry::load(text, &[], &registry);
});
