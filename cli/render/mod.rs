//! Draws what `story` tells, for people and for programs, and says what is wrong.

pub mod columns;
pub mod diagnostics;
pub mod ending;
pub mod run;
pub mod sweep;
pub mod table;
pub mod text;

/// As JSON, for programs.
pub fn json(value: &impl serde::Serialize) {
    println!(
        "{}",
        serde_json::to_string_pretty(value).expect("plain data")
    );
}
