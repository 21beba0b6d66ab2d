//! `climb completions`.

use clap_complete::Shell;

use crate::failure::Failure;
use crate::printing;

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

pub fn run(args: Args) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut crate::command(), "climb", &mut script);
    printing::bytes(&script);
    Ok(())
}
