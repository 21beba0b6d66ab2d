//! `train-segment`: a piece of a training before its decay, as a task of its own.
//!
//! With the WSD schedule, what comes before the decay does not know how many tokens there will be
//! in all. It is cut on a grid of `segment_tokens`; the checkpoint at each cut is an artifact, so
//! that a training of more tokens goes on from the last one.

mod params;

use std::collections::BTreeMap;

use climb_contract::stage::{
    Chain, InputPort, Isolation, OutputPort, ParamProblem, Resources, Stage, Upstream,
};

use super::{Shape, Train, TrainParams};
use crate::formats::checkpoint::Checkpoint;
use crate::libtorch;
pub use params::SegmentParams;

/// Most tasks that one training may become.
const MOST: u64 = 1000;

/// The segments of a training, unless it has none.
pub fn chain(params: &TrainParams) -> Option<Chain> {
    let each = segment_steps(params)? * params.step_tokens();
    let link = |i| {
        let link = SegmentParams::of(params, (i - 1) * each, i * each);
        serde_json::to_value(link).expect("plain data")
    };
    Some(Chain {
        kind: TrainSegment::KIND,
        links: (1..=count(params)).map(link).collect(),
        output: "checkpoint",
        port: "state",
    })
}

/// How many segments a training has.
fn count(params: &TrainParams) -> u64 {
    let of = |each: u64| (params.schedule().stable_end() / each).min(MOST);
    segment_steps(params).map_or(0, of)
}

/// Tokens that a training's segments train, all together.
pub fn tokens(params: &TrainParams) -> u64 {
    let each = segment_steps(params).unwrap_or(0);
    count(params) * each * params.step_tokens()
}

fn segment_steps(params: &TrainParams) -> Option<u64> {
    (params.segment_tokens > 0).then(|| params.segment_tokens.div_ceil(params.step_tokens()))
}

/// What is wrong with `segment_tokens`, if it is on.
pub fn problems(params: &TrainParams) -> Vec<ParamProblem> {
    let Some(each) = segment_steps(params) else {
        return Vec::new();
    };
    let mut problems = Vec::new();
    let mut problem = |message: &str, help: &str| {
        problems.push(ParamProblem::new("segment_tokens", message).help(help));
    };
    if params.schedule == Shape::Cosine {
        problem(
            "a cosine depends on `tokens` from its first step on, so its segments cannot be shared",
            "use `schedule: wsd`, or no `segment_tokens`",
        );
    }
    if params.warmup_tokens.is_none() {
        let share = (params.warmup * params.tokens as f64).round();
        problem(
            "segments need `warmup_tokens`: a share of `tokens` would be another warm-up for other \
             `tokens`",
            &format!("for what `warmup` gives now, write `warmup_tokens: {share}`"),
        );
    }
    let count = params.schedule().stable_end() / each;
    if count > MOST {
        problem(
            &format!("this cuts the training into {count} segments, more than {MOST}"),
            "make `segment_tokens` larger",
        );
    }
    problems
}

/// The stage kind `train-segment`.
pub struct TrainSegment;

impl Stage for TrainSegment {
    const KIND: &'static str = "train-segment";
    /// The same loop as `train`'s.
    const VERSION: u32 = Train::VERSION;
    const DOC: &'static str = "Trains a proxy up to a checkpoint before its decay: what `segment_tokens` makes of `train` \
         (CLIMB section 4.1's WSD schedule).";
    type Params = SegmentParams;

    fn inputs() -> Vec<InputPort> {
        super::inputs()
    }

    fn outputs() -> Vec<OutputPort> {
        vec![OutputPort::whole::<Checkpoint>(
            "checkpoint",
            "Weights, both of Adam's moments and the loss curve so far, as safetensors.",
        )]
    }

    fn numerics() -> Option<String> {
        libtorch::name()
    }

    fn isolation() -> Isolation {
        Train::isolation()
    }

    fn saves_at_interrupt() -> bool {
        Train::saves_at_interrupt()
    }

    fn resources(params: &SegmentParams) -> Resources {
        Train::resources(params.training())
    }

    fn unkeyed() -> &'static [&'static str] {
        &["from_tokens"]
    }

    fn cost(params: &SegmentParams, upstream: Upstream) -> BTreeMap<String, f64> {
        super::cost_from(params.from_tokens(), params.training(), upstream)
    }

    fn least_memory(params: &SegmentParams) -> f64 {
        params.training().least_memory()
    }

    fn memory_help(params: &SegmentParams) -> Option<(&'static str, String)> {
        Some(("context", params.training().memory_help()))
    }
}

#[cfg(test)]
mod tests {
    use climb_contract::stage::{Params, StageKind, erase};
    use serde_json::{Value, json};

    use super::*;

    fn params(tokens: u64) -> TrainParams {
        TrainParams {
            tokens,
            context: 10,
            batch: 10,
            warmup_tokens: Some(500),
            segment_tokens: 2000,
            ..Default::default()
        }
    }

    #[test]
    fn more_tokens_make_the_chain_longer_and_change_none_of_it() {
        let links = |tokens| chain(&params(tokens)).unwrap().links;
        // 80 of 100 steps before the decay, in segments of 20; then 160 of 200.
        let (short, long) = (links(10_000), links(20_000));
        assert_eq!((short.len(), long.len()), (4, 8));
        assert_eq!(long[..4], short);
        assert_eq!(long[7]["until_tokens"], 16_000);
        // No room for one: trained in one task.
        assert!(links(2000).is_empty());
        assert_eq!(chain(&TrainParams::default()), None);
    }

    /// Of what they were before a segment's parameters were made of a training's: tasks of that time
    /// are found by them.
    #[test]
    fn what_is_in_a_key_is_what_it_was() {
        let train = erase::<Train>(|_, _| Ok(()));
        let segment = erase::<TrainSegment>(|_, _| Ok(()));
        let keyed = |kind: &dyn StageKind, with: Value| {
            let complete = kind.complete(&with).unwrap();
            kind.keyed(&complete).to_string()
        };
        let defaults = concat!(
            r#"{"batch":16,"beta1":0.9,"beta2":0.95,"clip":1.0,"context":128,"learning_rate":0.004,"#,
            r#""log_every":10,"model":"nano","precision":"auto","seed":1,"until_tokens":400000,"#,
            r#""warmup_tokens":0,"weight_decay":0.1}"#,
        );
        assert_eq!(keyed(&*segment, json!({})), defaults);
        let defaults = concat!(
            r#"{"batch":16,"beta1":0.9,"beta2":0.95,"clip":1.0,"context":128,"decay":0.2,"#,
            r#""learning_rate":0.004,"log_every":10,"min_rate":0.05,"model":"nano","#,
            r#""precision":"auto","schedule":"wsd","seed":1,"tokens":400000,"warmup":0.05,"#,
            r#""weight_decay":0.1}"#,
        );
        assert_eq!(keyed(&*train, json!({})), defaults);
        let with = json!({"model": {"layers": 2, "width": 32, "heads": 2}, "tokens": 10_000,
            "context": 10, "batch": 10, "learning_rate": 0.003, "warmup_tokens": 500,
            "segment_tokens": 2000, "decay": 0.3, "weight_decay": 0.0, "beta1": 0.8, "beta2": 0.99,
            "clip": 0.5, "precision": "f32", "seed": 7, "log_every": 3});
        let of_train = concat!(
            r#"{"batch":10,"beta1":0.8,"beta2":0.99,"clip":0.5,"context":10,"decay":0.3,"#,
            r#""learning_rate":0.003,"log_every":3,"min_rate":0.05,"#,
            r#""model":{"ffn":0,"heads":2,"layers":2,"width":32},"precision":"f32","#,
            r#""schedule":"wsd","seed":7,"tokens":10000,"warmup":0.05,"warmup_tokens":500,"#,
            r#""weight_decay":0.0}"#,
        );
        assert_eq!(keyed(&*train, with.clone()), of_train);
        let links = train.chain(&train.complete(&with).unwrap()).unwrap().links;
        let whole = concat!(
            r#"{"batch":10,"beta1":0.8,"beta2":0.99,"clip":0.5,"context":10,"from_tokens":2000,"#,
            r#""learning_rate":0.003,"log_every":3,"#,
            r#""model":{"ffn":0,"heads":2,"layers":2,"width":32},"precision":"f32","seed":7,"#,
            r#""until_tokens":4000,"warmup_tokens":500,"weight_decay":0.0}"#,
        );
        assert_eq!(links[1].to_string(), whole);
        let of_segment = whole.replace(r#""from_tokens":2000,"#, "");
        assert_eq!(keyed(&*segment, links[1].clone()), of_segment);
    }

    #[test]
    fn segments_and_what_is_left_cost_as_much_as_the_whole() {
        let tokenizer =
            |kind: &str| (kind == "tokenizer").then(|| serde_json::json!({"vocab_size": 320}));
        let whole = TrainParams {
            segment_tokens: 0,
            ..params(10_050)
        };
        let whole = Train::cost(&whole, &tokenizer);
        // 101 steps; 81 before the decay, of which 4 segments of 20.
        let last = Train::cost(&params(10_050), &tokenizer);
        assert_eq!((whole["tokens"], last["tokens"]), (10_100.0, 2_100.0));
        let links = chain(&params(10_050)).unwrap().links;
        let costs = links.into_iter().map(|link| {
            let link: SegmentParams = serde_json::from_value(link).unwrap();
            TrainSegment::cost(&link, &tokenizer)
        });
        let costs: Vec<_> = costs.collect();
        assert!(costs.iter().all(|cost| cost["tokens"] == 2000.0));
        let flops: f64 = costs.iter().map(|cost| cost["flops"]).sum();
        let all = flops + last["flops"];
        assert!((all / whole["flops"] - 1.0).abs() < 1e-12, "{all}");
    }

    #[test]
    fn a_segments_rates_are_the_whole_trainings() {
        let (short, long) = (params(10_000).schedule(), params(20_000).schedule());
        for segment in chain(&params(10_000)).unwrap().links {
            let segment: SegmentParams = serde_json::from_value(segment).unwrap();
            let schedule = segment.training().schedule();
            for step in 0..schedule.steps {
                assert_eq!(schedule.rate(step), short.rate(step), "{step}");
                assert_eq!(schedule.rate(step), long.rate(step), "{step}");
            }
        }
    }

    #[test]
    fn what_would_depend_on_tokens_is_refused() {
        let messages = |params: TrainParams| {
            let problems = params.problems();
            problems
                .into_iter()
                .map(|p| {
                    format!(
                        "{}: {} ({})",
                        p.field,
                        p.message,
                        p.help.unwrap_or_default()
                    )
                })
                .collect::<Vec<_>>()
                .join("\n")
        };
        assert_eq!(messages(params(10_000)), "");
        let share = TrainParams {
            warmup_tokens: None,
            ..params(10_000)
        };
        assert!(messages(share).contains("write `warmup_tokens: 500`"));
        let cosine = TrainParams {
            schedule: Shape::Cosine,
            ..params(10_000)
        };
        assert!(messages(cosine).contains("a cosine depends on `tokens`"));
        let fine = TrainParams {
            segment_tokens: 1,
            ..params(1_000_000)
        };
        assert!(messages(fine).contains("8000 segments, more than 1000"));
        let long = TrainParams {
            warmup_tokens: Some(8001),
            ..params(10_000)
        };
        assert!(messages(long).starts_with("warmup_tokens: warmup and decay take more"));
    }
}
