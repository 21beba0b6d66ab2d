//! The parameters of a segment: those of a training, so that what `train` learns is here as well.

use std::borrow::Cow;

use climb_contract::stage::{ParamProblem, Params};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::train::{ModelSize, Shape, TrainParams};

/// Parameters of `train-segment`: a training that ends where the segment does, so far that what would
/// come after it leaves no trace.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(try_from = "Map<String, Value>", into = "Map<String, Value>")]
pub struct SegmentParams {
    from_tokens: u64,
    /// Normalised: where only a whole training has a say, it is always the same.
    training: TrainParams,
}

/// Fields of a training that say what it is as a whole; a segment has none of them.
const OF_THE_WHOLE: [&str; 6] = [
    "tokens",
    "schedule",
    "warmup",
    "segment_tokens",
    "decay",
    "min_rate",
];

/// Parameters of `train-segment`: those of `train` that do not depend on how many tokens there
/// will be in all, and where this segment ends.
// Its own fields, and those that are not as in `train`.
#[derive(Deserialize, Serialize, JsonSchema)]
#[serde(default)]
struct Own {
    /// A size by name or dimensions, as in `train`.
    model: ModelSize,
    /// Train up to here, counted in tokens from the training's start; rounded up to whole steps.
    #[schemars(range(min = 1))]
    until_tokens: u64,
    /// Where the segment before ends, to tell what this one costs; its checkpoint is what counts.
    #[serde(skip_serializing_if = "crate::formats::is_default")]
    from_tokens: u64,
    /// Tokens that warm up.
    warmup_tokens: u64,
}

impl Default for Own {
    fn default() -> Own {
        let train = TrainParams::default();
        Own {
            model: train.model,
            until_tokens: train.tokens,
            from_tokens: 0,
            warmup_tokens: 0,
        }
    }
}

impl TryFrom<Map<String, Value>> for SegmentParams {
    type Error = serde_json::Error;

    fn try_from(mut fields: Map<String, Value>) -> serde_json::Result<SegmentParams> {
        let own = Own::deserialize(Value::Object(fields.clone()))?;
        if let Some(name) = OF_THE_WHOLE.iter().find(|name| fields.contains_key(**name)) {
            return Err(serde::de::Error::custom(format!("unknown field `{name}`")));
        }
        fields.retain(|name, _| name != "until_tokens" && name != "from_tokens");
        let train = TrainParams::deserialize(Value::Object(fields))?;
        Ok(SegmentParams::of(&train, own.from_tokens, own.until_tokens))
    }
}

impl From<SegmentParams> for Map<String, Value> {
    fn from(segment: SegmentParams) -> Map<String, Value> {
        let SegmentParams {
            from_tokens,
            training,
        } = segment;
        let mut fields = object(serde_json::to_value(&training));
        fields.retain(|name, _| !OF_THE_WHOLE.contains(&name.as_str()));
        let own = Own {
            until_tokens: training.tokens,
            from_tokens,
            warmup_tokens: training.warmup_tokens.unwrap_or(0),
            model: training.model,
        };
        fields.append(&mut object(serde_json::to_value(own)));
        fields
    }
}

fn object(value: serde_json::Result<Value>) -> Map<String, Value> {
    match value {
        Ok(Value::Object(fields)) => fields,
        _ => unreachable!("plain data with named fields"),
    }
}

impl JsonSchema for SegmentParams {
    fn schema_name() -> Cow<'static, str> {
        "SegmentParams".into()
    }

    /// That of `train`, but for what is of the whole, and with what is its own.
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let fields = |schema: &Schema| schema.get("properties").cloned();
        let (train, mut own) = (
            TrainParams::json_schema(generator),
            Own::json_schema(generator),
        );
        let mut all = object(Ok(fields(&train).unwrap_or_default()));
        all.retain(|name, _| !OF_THE_WHOLE.contains(&name.as_str()));
        all.append(&mut object(Ok(fields(&own).unwrap_or_default())));
        own.insert("properties".into(), Value::Object(all));
        own.insert("additionalProperties".into(), false.into());
        generator.definitions_mut().remove(&*Shape::schema_name());
        own
    }
}

impl SegmentParams {
    /// The segment of `params` between these numbers of tokens.
    pub fn of(params: &TrainParams, from_tokens: u64, until_tokens: u64) -> SegmentParams {
        let training = TrainParams {
            tokens: until_tokens,
            schedule: Shape::Constant,
            warmup: 0.0,
            warmup_tokens: Some(params.warmup_tokens.unwrap_or(0)),
            segment_tokens: 0,
            decay: 0.0,
            min_rate: 1.0,
            ..params.clone()
        };
        SegmentParams {
            from_tokens,
            training,
        }
    }

    /// Where the segment before ends.
    pub fn from_tokens(&self) -> u64 {
        self.from_tokens
    }

    /// The training that this is the beginning of, ending where the segment does.
    pub fn training(&self) -> &TrainParams {
        &self.training
    }
}

impl Params for SegmentParams {
    fn problems(&self) -> Vec<ParamProblem> {
        let mut problems = self.training().problems();
        // The warm-up may go on after the segment.
        problems.retain(|problem| problem.field != "warmup_tokens");
        problems
    }
}
