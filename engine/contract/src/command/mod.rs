//! `command`: any program as a stage, so that people bring their own trainer, encoder or evaluator.
//!
//! [`params`] is what can be written under `with:`, [`kind`] what the engine asks of a stage kind;
//! [`check`] finds what is wrong before anything runs. [`run`] runs the program: with the arguments
//! that [`arguments`] makes and the environment that [`environment`] makes. [`shell`] reads a shell
//! line as far as its words can be told without running it, and [`programs`] looks programs up.

mod arguments;
mod check;
mod environment;
mod kind;
mod params;
mod programs;
mod run;
mod shell;

pub use kind::CommandStage;
pub use params::{CommandParams, FullOutput, InputSpec, OutputSpec, PassEnv, Run};
pub use run::{Foreign, GRACE};
