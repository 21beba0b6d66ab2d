//! The training loop, whatever is minimised.

use std::time::{Duration, Instant};

use anyhow::{bail, ensure};
use climb_contract::context::TaskContext;
use climb_contract::count as counted;
use climb_contract::state::State as Pieces;
use climb_stages::formats::checkpoint::Checkpoint;
use climb_stages::formats::curve::Curve;
use climb_stages::formats::mixture::Mixture;
use climb_stages::formats::model::{Model, ModelConfig};
use climb_stages::formats::packed::Packed;
use climb_stages::train::{Precision, SegmentParams, TrainParams};
use tch::{Device, Kind, Tensor};

use super::checkpoint::{self, State};
use super::data::Batches;
use super::model::Decoder;
use super::objective::{Mixed, Objective};
use crate::device::{device, has_bf16};

/// How much work a kill may cost.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(15);
/// Checkpoints take at most one part in so many of the time.
const CHECKPOINT_COST: u32 = 20;
const ADAM_EPS: f64 = 1e-8;

/// The body of `train`: the whole training, or what is left of it after a checkpoint, to a model.
pub fn run(params: &TrainParams, cx: &TaskContext) -> anyhow::Result<()> {
    train(params, cx, End::Model)
}

/// The body of `train-segment`: a training that goes on elsewhere, to a checkpoint.
pub fn run_segment(params: &SegmentParams, cx: &TaskContext) -> anyhow::Result<()> {
    train(params.training(), cx, End::Checkpoint)
}

/// What a training ends in.
#[derive(Clone, Copy, PartialEq)]
enum End {
    Model,
    Checkpoint,
}

fn train(params: &TrainParams, cx: &TaskContext, end: End) -> anyhow::Result<()> {
    let mixture = cx.read::<Mixture>("mixture")?;
    let packed = cx.read::<Packed>("tokens")?;
    let seed = mixture.seed.unwrap_or(params.seed);
    let batches = Batches::new(&packed, &mixture, params.batch, params.context, seed)?;
    let objective = Mixed { batches: &batches };
    let mut training = Training::start(params, cx, &packed, seed, objective)?;
    training.run(end == End::Model)?;
    match end {
        End::Model => training.write(&mixture, seed),
        End::Checkpoint => checkpoint::write(&cx.output("checkpoint"), &training.state),
    }
}

pub struct Training<'a, O> {
    params: &'a TrainParams,
    cx: &'a TaskContext,
    pieces: Pieces<'a>,
    device: Device,
    model: Decoder,
    objective: O,
    pub state: State,
    /// The step this task began at; other tasks did those before.
    first: u64,
    /// 1 where weight decay applies.
    decayed: Tensor,
    /// Losses of the last steps, not read yet: reading one waits for the device.
    unread: Vec<Tensor>,
    /// Steps whose losses were read.
    read: u64,
}

impl<'a, O: Objective> Training<'a, O> {
    /// A fresh one, or what a checkpoint holds of it.
    pub fn start(
        params: &'a TrainParams,
        cx: &'a TaskContext,
        packed: &Packed,
        seed: u64,
        objective: O,
    ) -> anyhow::Result<Training<'a, O>> {
        let device = device(&cx.device)?;
        let config = ModelConfig::new(
            params.model.dims(),
            packed.meta.vocab_size as i64,
            params.context as i64,
        );
        let fresh = Decoder::init(&config, seed);
        let count = fresh.numel() as i64;
        let given = cx.read_optional::<Checkpoint>("state")?;
        let given = given.as_ref().map(|given| given.0.as_path());
        let first = given.map_or(Ok(0), checkpoint::step)?;
        ensure!(
            first < params.steps(),
            "its `state` has trained {} already, and this ends after {}",
            counted(first, "step"),
            params.steps()
        );
        let pieces = cx.state()?;
        let mut state = checkpoint::restore(&pieces, count, device)?;
        if let (None, Some(given)) = (&state, given) {
            state = checkpoint::load(given, count, device);
            ensure!(
                state.is_some(),
                "its `state` is of a model of another size than {count} parameters"
            );
        }
        let zeros = || Tensor::zeros([count], (Kind::Float, device));
        let state = state.unwrap_or_else(|| State {
            step: 0,
            weights: fresh.to_device(device),
            moments: (zeros(), zeros()),
            curve: format!("step,tokens,learning_rate,loss{}\n", objective.heads()),
            losses: Vec::new(),
            carried: objective.carried(),
        });
        ensure!(
            state.carried.len() == objective.carried().len(),
            "its checkpoint is of another kind of training"
        );
        let bf16 = match params.precision {
            Precision::Auto => has_bf16(device),
            Precision::F32 => false,
            Precision::Bf16 => true,
        };
        let compute = if bf16 { Kind::BFloat16 } else { Kind::Float };
        let decayed = decayed(&config).to_device(device);
        let read = state.step;
        let model = Decoder::new(config, state.weights.shallow_clone(), compute)?;
        model.learn();
        Ok(Training {
            params,
            cx,
            pieces,
            device,
            model,
            objective,
            state,
            first,
            decayed,
            unread: Vec::new(),
            read,
        })
    }

    /// All steps that are left. `whole`: the curve ends with the last of them.
    pub fn run(&mut self, whole: bool) -> anyhow::Result<()> {
        let schedule = self.params.schedule();
        let step_tokens = self.params.step_tokens();
        let total = (schedule.steps - self.first) * step_tokens;
        let (mut saved, mut told) = (Instant::now(), Instant::now() - Duration::from_secs(1));
        let mut every = CHECKPOINT_EVERY;
        while self.state.step < schedule.steps {
            if told.elapsed() > Duration::from_millis(300) {
                let done = (self.state.step - self.first) * step_tokens;
                self.cx.progress(done, total, "tokens");
                told = Instant::now();
            }
            if let Err(cancelled) = self.cx.check_cancelled() {
                self.read_losses()?;
                checkpoint::keep(&self.pieces, &self.state)?;
                return Err(cancelled.into());
            }
            if saved.elapsed() > every {
                let begun = Instant::now();
                self.read_losses()?;
                checkpoint::keep(&self.pieces, &self.state)?;
                saved = Instant::now();
                every = CHECKPOINT_EVERY.max(begun.elapsed() * CHECKPOINT_COST);
            }
            let rate = schedule.rate(self.state.step);
            self.step(rate)?;
            self.log(rate, whole && self.state.step == schedule.steps)?;
        }
        self.read_losses()?;
        // The last step's loss is that before its update.
        ensure!(
            bool::try_from(self.state.weights.isfinite().all())?,
            "{}",
            self.diverged(self.state.step, "some weights are not finite")
        );
        self.cx.progress(total, total, "tokens");
        self.cx.total("tokens", total as f64);
        let flops = self.model.config.flops_per_token() + self.objective.flops_per_token();
        self.cx.total("flops", total as f64 * flops);
        self.cx.total("parameters", self.model.flat.numel() as f64);
        Ok(())
    }

    fn step(&mut self, rate: f64) -> anyhow::Result<()> {
        let (step, carried) = (self.state.step, &mut self.state.carried);
        let loss = self
            .objective
            .loss(&self.model, step, self.device, carried)?;
        let gradient = self.model.gradient(&loss)?;
        self.unread.push(loss.detach());
        if self.device == Device::Cpu {
            self.read_losses()?;
        }
        tch::no_grad(|| self.adam_w(&gradient, rate));
        self.state.step += 1;
        Ok(())
    }

    /// Moves the losses that are not read yet to the state.
    fn read_losses(&mut self) -> anyhow::Result<()> {
        for loss in std::mem::take(&mut self.unread) {
            let value = loss.double_value(&[]);
            let step = self.read;
            ensure!(
                value.is_finite(),
                "{}",
                self.diverged(step, &format!("the loss is {value}"))
            );
            self.state.losses.push(value);
            self.read += 1;
        }
        Ok(())
    }

    fn diverged(&self, step: u64, how: &str) -> String {
        let rate = self.params.learning_rate;
        let advice = match self.cx.may_drop {
            true => "; to go on without such proxies, give the stage `on_failure: drop`",
            false => "",
        };
        format!(
            "the training diverged at step {step}: {how}. Lower `learning_rate` (it is {rate}){advice}"
        )
    }

    /// AdamW (Loshchilov and Hutter 2019) on the flat vectors, after clipping by the global norm.
    fn adam_w(&mut self, gradient: &Tensor, rate: f64) {
        let p = self.params;
        let mut gradient = gradient.shallow_clone();
        if p.clip > 0.0 {
            let norm = gradient.norm();
            if self.device == Device::Cpu {
                let norm = norm.double_value(&[]);
                if norm > p.clip {
                    gradient *= p.clip / norm;
                }
            } else {
                // The same without waiting for the device.
                gradient *= (norm.reciprocal() * p.clip).clamp_max(1.0);
            }
        }
        let (first, second) = &mut self.state.moments;
        *first *= p.beta1;
        let _ = first.g_add_(&(&gradient * (1.0 - p.beta1)));
        *second *= p.beta2;
        let _ = second.g_add_(&(gradient.square() * (1.0 - p.beta2)));
        let done = self.state.step as i32 + 1;
        let (fix1, fix2) = (1.0 - p.beta1.powi(done), 1.0 - p.beta2.powi(done));
        let mut scale = &*second / fix2;
        let _ = scale.sqrt_();
        scale += ADAM_EPS;
        let weights = &mut self.state.weights;
        let shrink = &self.decayed * (-rate * p.weight_decay) + 1.0;
        *weights *= shrink;
        let _ = weights.g_add_(&(&*first / scale * (-rate / fix1)));
    }

    fn log(&mut self, rate: f64, last: bool) -> anyhow::Result<()> {
        let (step, step_tokens) = (self.state.step, self.params.step_tokens());
        if step.is_multiple_of(self.params.log_every) || last {
            self.read_losses()?;
            let losses = std::mem::take(&mut self.state.losses);
            let mean = losses.iter().sum::<f64>() / losses.len() as f64;
            let more = self.objective.columns(&self.state.carried);
            let line = format!("{step},{},{rate:.6e},{mean:.6}{more}\n", step * step_tokens);
            self.state.curve.push_str(&line);
        }
        Ok(())
    }

    fn write(&self, mixture: &Mixture, seed: u64) -> anyhow::Result<()> {
        let trained = Mixture {
            weights: mixture.weights.clone(),
            seed: Some(seed),
        };
        let (config, curve) = (&self.model.config, Curve(self.state.curve.clone()));
        let model = Model::create(&self.cx.output("model"), config, &trained, &curve)?;
        save_weights(config, &self.state.weights, &model.weights())
    }
}

/// 1 for matrices, 0 for norms, flat.
fn decayed(config: &ModelConfig) -> Tensor {
    let parts: Vec<Tensor> = Decoder::layout(config)
        .into_iter()
        .map(|(_, shape)| {
            let value = if shape.len() > 1 { 1.0 } else { 0.0 };
            let len: i64 = shape.iter().product();
            Tensor::full([len], value, (Kind::Float, Device::Cpu))
        })
        .collect();
    Tensor::cat(&parts, 0)
}

fn save_weights(config: &ModelConfig, flat: &Tensor, path: &std::path::Path) -> anyhow::Result<()> {
    let flat = flat.detach().to_device(Device::Cpu);
    let mut at = 0;
    let tensors: Vec<(String, Tensor)> = Decoder::layout(config)
        .into_iter()
        .map(|(name, shape)| {
            let len: i64 = shape.iter().product();
            let tensor = flat.narrow(0, at, len).view(shape.as_slice());
            at += len;
            (name, tensor)
        })
        .collect();
    Tensor::write_safetensors(&tensors, path)?;
    Ok(())
}

/// Reads the model of a `model` artifact.
pub fn load_model(model: &Model, device: Device) -> anyhow::Result<Decoder> {
    let (config, path) = (model.config.clone(), model.weights());
    let tensors = Tensor::read_safetensors(&path)?;
    let mut parts = Vec::new();
    for (name, shape) in Decoder::layout(&config) {
        match tensors.iter().find(|(key, _)| *key == name) {
            Some((_, tensor)) if tensor.size() == shape => parts.push(tensor.reshape([-1])),
            _ => bail!("{} has no `{name}` of shape {shape:?}", path.display()),
        }
    }
    let flat = Tensor::cat(&parts, 0).to_device(device);
    Decoder::new(config, flat, Kind::Float)
}
