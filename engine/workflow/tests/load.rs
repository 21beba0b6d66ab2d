//! Workflow files that are wrong in one way each, and what is said of them: message, line, column
//! and help. Stage kinds are small ones of the test's own.

use std::path::Path;

use climb_contract::command::CommandStage;
use climb_contract::diagnostic::Diagnostic;
use climb_contract::stage::{
    Arity, InputPort, OutputPort, ParamProblem, Params, Registry, Stage, declare,
};
use climb_workflow::load::{Loaded, load_text};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

macro_rules! stage {
    ($name:ident, $kind:literal, $params:ty, in: [$(($in:literal, $ity:literal, $arity:ident)),*],
     out: ($out:literal, $items:expr)) => {
        struct $name;
        impl Stage for $name {
            const KIND: &'static str = $kind;
            const VERSION: u32 = 1;
            const DOC: &'static str = "for tests";
            type Params = $params;
            fn inputs() -> Vec<InputPort> {
                vec![$(InputPort { name: $in, ty: $ity, arity: Arity::$arity, doc: "" }),*]
            }
            fn outputs() -> Vec<OutputPort> {
                vec![OutputPort { name: $out, ty: $out, items: $items, doc: "" }]
            }
        }
    };
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct Plain {}
impl Params for Plain {}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct Knobs {
    #[schemars(range(min = 1, max = 100))]
    count: usize,
    mode: Mode,
    inner: Inner,
}

#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Mode {
    #[default]
    Fast,
    Careful,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct Inner {
    rate: f64,
}

impl Default for Knobs {
    fn default() -> Knobs {
        Knobs {
            count: 2,
            mode: Mode::Fast,
            inner: Inner::default(),
        }
    }
}

impl Params for Knobs {
    fn problems(&self) -> Vec<ParamProblem> {
        if self.inner.rate < 0.0 {
            return vec![ParamProblem::new("inner.rate", "the rate is negative")];
        }
        Vec::new()
    }
}

stage!(Texts, "texts", Knobs, in: [], out: ("texts", None));
stage!(Vectors, "vectors", Plain, in: [("texts", "texts", One)], out: ("vectors", None));
stage!(Draw, "draw", Knobs, in: [("vectors", "vectors", One), ("fit", "fit", Optional)],
    out: ("draws", Some("draw")));
stage!(Try, "try", Knobs, in: [("draw", "draw", One)], out: ("tried", None));
stage!(Fit, "fit", Plain, in: [("tried", "tried", Many)], out: ("fit", None));

fn registry() -> Registry {
    Registry::new(vec![
        declare::<Texts>("nowhere"),
        declare::<Vectors>("nowhere"),
        declare::<Draw>("nowhere"),
        declare::<Try>("nowhere"),
        declare::<Fit>("nowhere"),
        Box::new(CommandStage),
    ])
}

fn load(text: &str) -> Result<Loaded, Vec<String>> {
    load_with(text, &[])
}

/// Errors as `LINE:COLUMN message | help`.
fn load_with(text: &str, set: &[(&str, &str)]) -> Result<Loaded, Vec<String>> {
    let set = set.iter().map(|(a, b)| (a.to_string(), b.to_string()));
    let env = |name: &str| (name == "HOME").then(|| "/home/me".to_string());
    let loaded = load_text(
        text,
        Path::new("w.yaml"),
        &set.collect::<Vec<_>>(),
        &registry(),
        &env,
    );
    let line = |d: Diagnostic| {
        let place = d
            .span
            .map_or("-".into(), |s| format!("{}:{}", s.line, s.column));
        let help = d.help.map_or(String::new(), |help| format!(" | {help}"));
        format!("{place} {}{help}", d.message)
    };
    loaded.map_err(|problems| problems.into_iter().map(line).collect())
}

#[track_caller]
fn wrong(text: &str, expected: &[&str]) {
    match load(text) {
        Ok(_) => panic!("this is right:\n{text}"),
        Err(found) => assert_eq!(found, expected, "\n{text}"),
    }
}

const GOOD: &str = r#"
name: good
params: {count: 3, runs: [4, 2]}
stages:
  texts: {uses: texts, with: {count: "${params.count}"}}
  vectors: {uses: vectors, needs: {texts: texts}}
  search:
    repeat:
      over: "${params.runs}"
      as: runs
      stages:
        draw: {uses: draw, needs: {vectors: vectors, fit: previous.fit}, with: {count: "${runs}"}}
        try: {uses: try, foreach: {draw: draw}}
        fit: {uses: fit, needs: {tried: all.try}}
  last: {uses: fit, needs: {tried: search.all.try}}
"#;

#[test]
fn a_good_workflow_is_unrolled() {
    let graph = load(GOOD).unwrap().graph;
    let names: Vec<&str> = graph.nodes.iter().map(|node| node.name.as_str()).collect();
    let (once, twice) = (
        ["search[1].draw", "search[1].try", "search[1].fit"],
        ["search[2].draw", "search[2].try", "search[2].fit"],
    );
    assert_eq!(
        names,
        [&["texts", "vectors"][..], &once, &twice, &["last"]].concat()
    );
    let node = |name: &str| &graph.nodes[graph.find(name).unwrap()];
    assert_eq!(node("search[2].draw").params["count"], 2);
    // All iterations so far, and all of them.
    assert_eq!(node("search[2].fit").inputs[0].from.len(), 2);
    assert_eq!(node("last").inputs[0].from.len(), 2);
}

#[test]
fn set_changes_params_and_with_and_nothing_else() {
    let graph = load_with(GOOD, &[("params.runs", "[1, 1, 1]")])
        .unwrap()
        .graph;
    assert!(graph.find("search[3].fit").is_some());
    let graph = load_with(GOOD, &[("stages.texts.with.mode", "careful")])
        .unwrap()
        .graph;
    assert_eq!(graph.nodes[0].params["mode"], "careful");
    let error = |name, value| load_with(GOOD, &[(name, value)]).unwrap_err();
    assert_eq!(
        error("params.coun", "3"),
        [
            "- --set params.coun: there is no `params.coun` in the workflow | did you mean \
          `params.count`?"
        ]
    );
    assert_eq!(
        error("count", "3"),
        ["- --set count: only `params.…` and `stages.…` can be set | write `--set params.count=3`"]
    );
    let unparsed = error("params.count", "[");
    assert!(
        unparsed[0].starts_with("- --set params.count: `[` is no YAML value"),
        "{unparsed:?}"
    );
    assert_eq!(
        error("params.count", "many"),
        ["5:38 `count` must be an integer, not the string \"many\""]
    );
}

#[test]
fn names_that_are_nearly_right_get_a_suggestion() {
    wrong(
        "stages:\n  texts: {uses: text}\n",
        &["2:17 unknown stage kind `text` | did you mean `texts`?"],
    );
    wrong(
        "stages:\n  texts:\n    uses: texts\n    wiht: {}\n",
        &["4:5 unknown key `wiht` in a stage | did you mean `with`?"],
    );
    wrong(
        "stages:\n  texts:\n    uses: texts\n    with:\n      cuont: 3\n",
        &["5:7 unknown parameter `cuont` | did you mean `count`?"],
    );
    wrong(
        "stages:\n  texts: {uses: texts}\n  vectors:\n    uses: vectors\n    needs: {texts: text}\n",
        &["5:20 there is no stage `text` | did you mean `texts`?"],
    );
    wrong(
        "stages:\n  texts: {uses: texts}\n  vectors: {uses: vectors, needs: {txets: texts}}\n",
        &[
            "3:3 `vectors` needs its port `texts` (texts) wired | for example `needs: {texts: \
             texts.texts}`",
            "3:36 `vectors` has no input port `txets` | did you mean `texts`?",
        ],
    );
    wrong(
        "params: {count: 1}\nstages:\n  texts: {uses: texts, with: {count: \"${params.cont}\"}}\n",
        &["3:38 `params.cont` is not defined | did you mean `params.count`?"],
    );
    wrong(
        "stages:\n  texts: {uses: texts, with: {mode: carefull}}\n",
        &["2:37 `mode` cannot be the string \"carefull\" | did you mean `careful`?"],
    );
}

#[test]
fn values_of_the_wrong_type_or_size_are_found() {
    let with = |with: &str, expected: &str| {
        let text = format!("stages:\n  texts:\n    uses: texts\n    with: {{{with}}}\n");
        wrong(&text, &[expected]);
    };
    with("count: 0", "4:19 `count` must be at least 1, not 0");
    with("count: 101", "4:19 `count` must be at most 100, not 101");
    with(
        "count: three",
        "4:19 `count` must be an integer, not the string \"three\"",
    );
    with(
        "count: 1_0",
        "4:19 `count` must be an integer, not the string \"1_0\" | YAML takes digits with `_` for \
         text; write 10",
    );
    with("inner: {rate: -1}", "4:26 the rate is negative");
    with(
        "inner: {rat: 1}",
        "4:20 unknown parameter `rat` | did you mean `rate`?",
    );
    with("count: .nan", "4:19 `.nan` is no number to compute with");
}

#[test]
fn wiring_of_another_type_is_found() {
    let draw = |vectors: &str| {
        format!(
            "stages:\n  texts: {{uses: texts}}\n  draw: {{uses: draw, needs: {{vectors: {vectors}}}}}\n"
        )
    };
    wrong(
        &draw("texts"),
        &[
            "3:39 port `vectors` wants vectors, but `texts` makes texts | its outputs: texts.texts \
           (texts)",
        ],
    );
    wrong(
        &draw("texts.vectors"),
        &["3:39 `texts` has no output `vectors` | its outputs: texts"],
    );
}

#[test]
fn lists_and_single_artifacts_are_told_apart() {
    let text = |rest: &str| {
        let vectors = "vectors: {uses: vectors, needs: {texts: texts}}";
        let draw = "draw: {uses: draw, needs: {vectors: vectors}}";
        format!("stages:\n  texts: {{uses: texts}}\n  {vectors}\n  {draw}\n{rest}\n")
    };
    wrong(
        &text("  try: {uses: try, foreach: {draw: vectors}}"),
        &[
            "5:36 port `draw` wants draw, but `vectors` makes vectors | its outputs: \
           vectors.vectors (vectors)",
        ],
    );
    wrong(
        &text("  try: {uses: try, foreach: {draw: draw}}\n  fit: {uses: fit, needs: {tried: try}}"),
        &[
            "6:35 `try` is many tasks, each with an output | take all of them with `all.try`, or \
           map over them with `foreach`",
        ],
    );
}

const CHOICE: &str = r#"
params: {how: search, last: 2}
stages:
  texts: {uses: texts}
  vectors: {uses: vectors, needs: {texts: texts}}
  other: {uses: vectors, when: "${params.how != search}", needs: {texts: texts}}
  search:
    when: "${params.how == search}"
    repeat:
      over: 2
      stages:
        draw: {uses: draw, needs: {vectors: vectors, fit: previous.fit}}
        try: {uses: try, foreach: {draw: draw}}
        fit: {uses: fit, when: "${iteration == params.last}", needs: {tried: all.try}}
  draw: {uses: draw, needs: {vectors: [vectors], fit: search.fit}}
  gather: {uses: fit, needs: {tried: search.all.try}}
"#;

#[test]
fn what_is_left_out_wires_nothing() {
    let names = |set: &[(&str, &str)]| -> Vec<String> {
        let graph = load_with(CHOICE, set).unwrap().graph;
        graph
            .nodes
            .into_iter()
            .map(|node| node.name.to_string())
            .collect()
    };
    let (first, second) = (
        ["search[1].draw", "search[1].try"],
        ["search[2].draw", "search[2].try", "search[2].fit"],
    );
    let both = [
        &["texts", "vectors"][..],
        &first,
        &second,
        &["draw", "gather"],
    ]
    .concat();
    assert_eq!(names(&[]), both);
    assert_eq!(
        names(&[("params.how", "none")]),
        ["texts", "vectors", "other", "draw", "gather"]
    );
    let graph = load_with(CHOICE, &[("params.how", "none")]).unwrap().graph;
    let node = |name: &str| &graph.nodes[graph.find(name).unwrap()];
    // The optional port and the port of many are left unwired.
    assert_eq!(node("draw").inputs.len(), 1);
    assert!(node("gather").inputs.is_empty());
}

#[test]
fn of_alternatives_the_one_that_is_there_is_taken() {
    let text = |how: &str| {
        format!(
            "stages:\n  texts: {{uses: texts}}\n  a: {{uses: vectors, when: {how}, needs: \
             {{texts: texts}}}}\n  b: {{uses: vectors, needs: {{texts: texts}}}}\n  draw: {{uses: \
             draw, needs: {{vectors: [a, b]}}}}\n"
        )
    };
    let graph = load(&text("false")).unwrap().graph;
    let draw = &graph.nodes[graph.find("draw").unwrap()];
    assert_eq!(graph.nodes[draw.inputs[0].from[0].node].name, "b");
    let error = load(&text("true")).unwrap_err();
    assert_eq!(
        error,
        ["5:40 port `vectors` takes one artifact, and this is many"]
    );
}

#[test]
fn a_port_that_cannot_do_without_is_not_left_unwired() {
    let text = |when: &str, rest: &str| {
        format!(
            "stages:\n  texts: {{uses: texts}}\n  v: {{uses: vectors, when: {when}, needs: {{texts: \
             texts}}}}\n{rest}\n"
        )
    };
    wrong(
        &text("false", "  draw: {uses: draw, needs: {vectors: v}}"),
        &[
            "4:39 `v` is left out by its `when`, and `draw` cannot do without | give `draw` the same \
           `when`, or name what is there instead: `[v, other]`",
        ],
    );
    wrong(
        &text("1", ""),
        &[
            "3:28 `when` must be true or false, and this is 1 | compare: `when: ${params.strategy == \
           doremi}`",
        ],
    );
    wrong(
        "stages:\n  texts: {uses: texts, when: false}",
        &["1:1 every stage is left out by its `when`: there is nothing to run"],
    );
    let looped = "  d: {uses: draw, when: false, needs: {vectors: v}}\n  try: {uses: try, foreach: {draw: d}}";
    let error = load(&text("true", looped)).unwrap_err();
    assert!(
        error[0].contains("`d` is left out by its `when`, and `try` cannot"),
        "{error:?}"
    );
}

#[test]
fn cycles_are_named_each() {
    let stage = |name: &str, needs: &str| {
        let with = "{run: [\"true\"], outputs: {y: t}}";
        format!("  {name}: {{uses: command, needs: {{x: {needs}}}, with: {with}}}\n")
    };
    let stages = [("a", "b"), ("b", "a"), ("c", "c"), ("d", "a")];
    let stages: String = stages
        .iter()
        .map(|(name, needs)| stage(name, needs))
        .collect();
    let help = "in a `repeat`, `previous.x` refers to the iteration before";
    wrong(
        &format!("stages:\n{stages}"),
        &[
            &format!("2:3 the stages form a cycle: `a` needs `b` needs `a` | {help}"),
            &format!("4:3 the stages form a cycle: `c` needs `c` | {help}"),
        ],
    );
    wrong(
        "params: {a: \"${params.b}\", b: \"${params.a}\"}\nstages: {t: {uses: texts}}\n",
        &["1:10 parameters refer to each other in a circle: `a`, `b`"],
    );
}

#[test]
fn what_is_no_workflow_is_said_to_be_none() {
    let none = "1:1 a workflow is a mapping with `params` and `stages` | workflows/quickstart.yaml \
                is one to start from";
    wrong("", &[none]);
    wrong("- a\n", &[none]);
    wrong("params: {}\n", &["1:1 the workflow has no `stages`"]);
    wrong("stages: {}\n", &["1:1 `stages` is empty"]);
    wrong(
        "stages:\n  a: 3\n",
        &["2:6 stage `a` must be a mapping with `uses`"],
    );
    wrong(
        "stages:\n  a: {}\n",
        &[
            "2:3 stage `a` does not say what it uses | add `uses:` with one of command, draw, fit, \
           texts, try, vectors",
        ],
    );
    wrong(
        "stage:\n  a: {uses: texts}\n",
        &[
            "1:1 the workflow has no `stages`",
            "1:1 unknown key `stage` at the top | did you mean `stages`?",
        ],
    );
    wrong(
        "stages:\n  a: {uses: texts}\n  a: {uses: texts}\n",
        &["3:3 `a` is here twice"],
    );
}

#[test]
fn broken_yaml_has_a_place() {
    let error = load("stages:\n  a: {uses: [\n").unwrap_err();
    assert!(
        error[0].starts_with("2:") && error[0].contains("this is not YAML"),
        "{error:?}"
    );
    let error = load("stages:\n\ta: 1\n").unwrap_err();
    assert!(error[0].starts_with("2:1 this is not YAML"), "{error:?}");
}

#[test]
fn all_is_said_at_once() {
    let errors = load(
        "params: {n: 1}\nstages:\n  a: {uses: textes}\n  b: {uses: texts, with: {count: 0}}\n  \
         c: {uses: vectors, needs: {texts: bb}}\n  d: {uses: texts, with: {count: \"${params.m}\"}}\n",
    );
    let errors = errors.unwrap_err();
    assert_eq!(errors.len(), 4, "{errors:#?}");
}

#[test]
fn an_alias_bomb_is_refused() {
    let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_string();
    for i in 1..12 {
        let items = vec![format!("*a{}", i - 1); 10].join(", ");
        text.push_str(&format!("a{i}: &a{i} [{items}]\n"));
    }
    let error = load(&text).unwrap_err();
    assert!(
        error[0].contains("more values than any workflow"),
        "{error:?}"
    );
}

#[test]
fn deep_nesting_is_refused() {
    for (open, close) in [("[", "]"), ("{a: ", "}")] {
        let text = format!("stages: {}{}", open.repeat(5000), close.repeat(5000));
        let error = load(&text).unwrap_err();
        assert!(
            error.len() == 1 && error[0].contains("nested too deeply"),
            "{error:?}"
        );
    }
    let steps: String = (1..3000)
        .map(|i| format!("{}- \n", " ".repeat(i)))
        .collect();
    assert!(load(&format!("stages:\n{steps}")).is_err());
}

mod never_panics {
    use climb_workflow::graph::Graph;
    use proptest::prelude::*;

    use super::{GOOD, load, load_with};

    /// The good workflow with one stretch replaced.
    fn damaged() -> impl Strategy<Value = String> {
        let words = ["${", "${params.", "&a *a", "<<: ", "!!x ", "- ", "{", "]"];
        let piece = prop_oneof![
            "[ -~\n]{0,8}",
            "\\PC{0,4}",
            proptest::sample::select(words.to_vec()).prop_map(String::from),
        ];
        (0..GOOD.len(), 0usize..12, piece).prop_map(|(at, cut, piece)| {
            let end = (at + cut).min(GOOD.len());
            format!("{}{piece}{}", &GOOD[..at], &GOOD[end..])
        })
    }

    fn params(graph: &Graph) -> Vec<(String, String)> {
        let nodes = graph.nodes.iter();
        nodes
            .map(|node| (node.name.to_string().clone(), node.params.to_string()))
            .collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..Default::default() })]

        #[test]
        fn on_damaged_workflows(text in damaged()) {
            if let Err(errors) = load(&text) {
                prop_assert!(!errors.is_empty(), "refused without a word");
            }
        }

        #[test]
        fn on_any_text(text in "\\PC{0,80}") {
            let _ = load(&text);
        }

        #[test]
        fn on_any_setting(name in "(params|stages)\\.[a-z.\\[\\]]{0,12}", value in "\\PC{0,12}") {
            let _ = load_with(GOOD, &[(&name, &value)]);
        }

        #[test]
        fn and_comments_change_nothing(line in 0usize..15, comment in "[ a-z:{}]{0,20}") {
            let mut lines: Vec<&str> = GOOD.lines().collect();
            let comment = format!("   # {comment}");
            lines.insert(line.min(lines.len()), &comment);
            let graph = load(&lines.join("\n")).unwrap().graph;
            prop_assert_eq!(params(&graph), params(&load(GOOD).unwrap().graph));
        }
    }
}

mod out_of_proportion {
    use super::{load, load_with};

    /// A workflow of one stage with this before it.
    fn with(head: &str) -> String {
        format!("{head}stages: {{texts: {{uses: texts}}}}\n")
    }

    fn refused(text: &str, words: &str) {
        let errors = load(text).unwrap_err();
        assert!(
            errors.iter().any(|error| error.contains(words)),
            "{errors:?}"
        );
        assert!(errors.len() < 20, "{} errors", errors.len());
    }

    #[test]
    fn parameters_that_double_each_other_are_refused() {
        for (first, next) in [
            ("xxxxxxxx", "'${A}${A}'"),
            ("[1, 2, 3]", "['${A}', '${A}']"),
        ] {
            let mut head = format!("params:\n  p0: {first}\n");
            for i in 1..60 {
                let next = next.replace('A', &format!("params.p{}", i - 1));
                head.push_str(&format!("  p{i}: {next}\n"));
            }
            refused(&with(&head), "make more than any workflow has");
        }
    }

    #[test]
    fn a_long_text_with_many_aliases_is_refused() {
        let long = "x".repeat(1_000_000);
        let aliases = "*a, ".repeat(100_000);
        refused(
            &with(&format!("_a: &a {long}\n_b: [{aliases}]\n")),
            "more values than any workflow",
        );
        // A key is a text too.
        let (key, aliases) = ("x".repeat(1000), "*a, ".repeat(60_000));
        refused(
            &with(&format!("_a: &a {{{key}: 1}}\n_b: [{aliases}]\n")),
            "more values than any workflow",
        );
    }

    #[test]
    fn iterations_without_number_are_refused() {
        let stages = (0..30).map(|i| format!("        s{i}: {{uses: texts}}\n"));
        let stages: String = stages.collect();
        let head = "stages:\n  r:\n    repeat:\n      over: 10000\n      stages:\n";
        refused(&format!("{head}{stages}"), "more than 200000 stages");
    }

    #[test]
    fn gathering_everything_each_time_is_refused() {
        let text = "stages:\n  r:\n    repeat:\n      over: 3400\n      stages:\n        texts: {uses: texts}\n        \
                    vectors: {uses: vectors, needs: {texts: texts}}\n        draw: {uses: draw, needs: \
                    {vectors: vectors}}\n        try: {uses: try, foreach: {draw: draw}}\n        fit: {uses: \
                    fit, needs: {tried: all.try}}\n";
        refused(text, "artifacts go into stages");
    }

    #[test]
    fn a_long_value_is_not_repeated_in_the_message() {
        let long = "x".repeat(100_000);
        let errors = load(&format!(
            "stages:\n  texts: {{uses: texts, with: {{count: {long}}}}}\n  {long}: 1\n"
        ));
        let errors = errors.unwrap_err();
        assert!(errors.iter().all(|error| error.len() < 10_000));
    }

    #[test]
    fn a_long_chain_of_parameters_is_quick() {
        let mut head = "params:\n".to_string();
        for i in 0..20_000 {
            head.push_str(&format!("  p{i:05}: '${{params.p{:05}}}'\n", i + 1));
        }
        head.push_str("  p20000: 1\n");
        let start = std::time::Instant::now();
        let text = format!(
            "{head}stages: {{texts: {{uses: texts, with: {{count: '${{params.p00000}}'}}}}}}\n"
        );
        assert_eq!(load(&text).unwrap().graph.nodes[0].params["count"], 1);
        assert!(start.elapsed().as_secs() < 20, "{:?}", start.elapsed());
    }

    #[test]
    fn a_setting_is_held_to_the_same() {
        // saphyr stops at the tab, serde_yaml would go on.
        let mut bomb = "[&a [x, x, x, x, x, x, x, x, x, x]".to_string();
        for (name, before) in [
            ("b", "a"),
            ("c", "b"),
            ("d", "c"),
            ("e", "d"),
            ("f", "e"),
            ("g", "f"),
        ] {
            let items = vec![format!("*{before}"); 10].join(", ");
            bomb.push_str(&format!(", &{name} [{items}]"));
        }
        for end in ["]", ", \t]"] {
            let bomb = format!("{bomb}{end}");
            let errors = load_with(&with("params: {a: 1}\n"), &[("params.a", &bomb)]);
            assert!(errors.is_err());
        }
    }

    #[test]
    fn a_file_without_end_is_not_read() {
        let file = std::path::Path::new("/dev/zero");
        let loaded = climb_workflow::load::load(file, &[], &super::registry(), &|_| None);
        let errors = loaded.unwrap_err();
        assert!(
            errors[0].message.contains("longer than 4 MiB"),
            "{errors:?}"
        );
    }
}

#[test]
fn whole_numbers_may_be_written_as_floats() {
    for count in ["3", "3.0", "0.3e1"] {
        let text = format!("stages: {{texts: {{uses: texts, with: {{count: {count}}}}}}}");
        let node = load(&text).unwrap().graph.nodes.remove(0);
        // The same task, whichever way.
        assert_eq!(node.params["count"].to_string(), "3");
    }
    wrong(
        "stages: {texts: {uses: texts, with: {count: 2.5}}}",
        &["1:45 `count` must be an integer, not the number 2.5"],
    );
    let options = "stages: {texts: {uses: texts, retries: 2.0, resources: {cpus: 1.0}}}";
    let node = load(options).unwrap().graph.nodes.remove(0);
    assert_eq!((node.retries, node.resources.cpus), (2, Some(1)));
}

#[test]
fn times_beyond_any_clock_are_refused() {
    for name in ["backoff", "timeout"] {
        let message =
            format!("`{name}` is longer than 100 years | write a time such as 30s, 10m or 1h30m");
        for time in ["3000000000000000h", "1000000h", "1e19"] {
            let text = format!("stages: {{texts: {{uses: texts, {name}: {time}}}}}");
            wrong(&text, &[&format!("1:40 {message}")]);
        }
        let most = format!("stages: {{texts: {{uses: texts, {name}: 36500d}}}}");
        assert!(load(&most).is_ok());
    }
}

/// A chain is as long as there are stages: nothing may go down it level by level.
#[test]
fn a_chain_of_many_stages_loads() {
    const STAGES: usize = 8_000;
    let mut text =
        "stages:\n  s0: {uses: texts}\n  s1: {uses: vectors, needs: {texts: s0}}\n".to_string();
    for i in 2..STAGES {
        let before = i - 1;
        text += &format!(
            "  s{i}: {{uses: command, needs: {{i: s{before}}}, with: {{run: [x], outputs: {{o: t}}}}}}\n"
        );
    }
    let loaded = std::thread::Builder::new()
        .stack_size(1 << 20)
        .spawn(move || load(&text).map(|loaded| loaded.graph.nodes.len()));
    assert_eq!(loaded.unwrap().join().unwrap(), Ok(STAGES));
}
