//! A workflow's text, its expressions, and `--set`: the way in that tests and fuzz targets share.

use std::path::Path;

use climb_contract::stage::Registry;
use climb_workflow::load::load_text;

/// Loads a workflow. What is refused is refused with a message of some length.
pub fn load(text: &str, set: &[(String, String)], registry: &Registry) {
    let env = |name: &str| (name == "HOME").then(|| "/home/me".to_string());
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../workflows"));
    if let Err(problems) = load_text(text, &folder.join("w.yaml"), set, registry, &env) {
        assert!(!problems.is_empty(), "refused without a word");
        for problem in problems {
            assert!(problem.message.len() < 20_000, "a message without end");
        }
    }
}

/// A workflow with these texts as a parameter, in a list, and in a stage.
pub fn with_expressions(a: &str, b: &str, c: &str) -> String {
    let [a, b, c] = [a, b, c].map(|text| serde_json::Value::from(text).to_string());
    format!(
        "params: {{a: {a}, b: [{b}, {{c: 1}}]}}\nstages: {{x: {{uses: command, with: {{run: {c}, outputs: \
         {{y: t}}}}}}}}\n"
    )
}
