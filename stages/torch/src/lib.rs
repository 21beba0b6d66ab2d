//! The bodies of the stages that compute with libtorch, and `climb-torch`, the worker that runs their
//! tasks. climb itself links no libtorch: its static initialisers cost 160 ms in every process.

mod device;
pub mod embed;
pub mod evaluate;
pub mod kmeans;
pub mod train;

use std::path::Path;

use climb_contract::stage::{Registry, StageKind, erase};
use climb_stages::embed::Embed;
use climb_stages::evaluate::Evaluate;
use climb_stages::kmeans::Kmeans;
use climb_stages::train::{Doremi, Train, TrainSegment};

/// The kinds whose bodies are here.
pub fn kinds() -> Vec<Box<dyn StageKind>> {
    vec![
        erase::<Embed>(embed::run),
        erase::<Kmeans>(kmeans::run),
        erase::<Train>(train::run),
        erase::<TrainSegment>(train::run_segment),
        erase::<Doremi>(train::run_doremi),
        erase::<Evaluate>(evaluate::run),
    ]
}

const USAGE: &str =
    "climb-torch runs the tasks of climb that compute with libtorch; climb starts it.

Usage: climb-torch task FILE    run one task from its description
       climb-torch serve       fork a process for each task that is asked for on stdin
       climb-torch devices      say which devices libtorch sees, as JSON
       climb-torch --version
";

/// The program `climb-torch`. `build` names it. Returns the exit code.
pub fn main(build: &str) -> i32 {
    device::open_cuda();
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let words: Vec<_> = arguments
        .iter()
        .map(|word| word.to_string_lossy())
        .collect();
    match words.iter().map(|word| &**word).collect::<Vec<_>>()[..] {
        ["task", _] => {
            let registry = Registry::new(kinds());
            climb_contract::task::main(&registry, Path::new(&arguments[1]), build)
        }
        ["serve"] => climb_contract::serve::main(&Registry::new(kinds()), build),
        ["devices"] => {
            let devices = device::devices(build);
            println!("{}", serde_json::to_string(&devices).expect("plain data"));
            0
        }
        ["--version"] => {
            println!("climb-torch {build}");
            0
        }
        ["--help" | "-h"] => {
            print!("{USAGE}");
            0
        }
        _ => {
            eprint!("{USAGE}");
            2
        }
    }
}
