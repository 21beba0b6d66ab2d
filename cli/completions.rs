//! `climb completions`.

use std::io::Write;

use clap_complete::Shell;

/// Print a shell's completions
///
/// Examples:
///
///     climb completions bash > ~/.local/share/bash-completion/completions/climb
///     climb completions zsh  > ~/.zfunc/_climb
///     climb completions fish > ~/.config/fish/completions/climb.fish
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    #[arg(value_enum)]
    shell: Shell,
}

pub fn run(args: Args) -> u8 {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut crate::command(), "climb", &mut script);
    // A reader that has gone away is not our failure.
    let _ = std::io::stdout().write_all(&script);
    0
}
