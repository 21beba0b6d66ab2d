//! Benchmarks' questions, so that none of them is trained on.

use climb_contract::context::TaskContext;

use super::CorpusParams;
use super::choose::Hash;
use crate::likeness::overlap::{Overlap, Protected, Rule};
use crate::likeness::words::Content;
use crate::questions::{self, QuestionsParams};

/// Questions with fewer words are not looked for: others ask the same.
pub const SHORT: usize = 8;

pub struct Questions {
    pub asked: u64,
    pub short: u64,
    /// Of those with enough words for an n-gram, of which one is too much; and of shorter ones, which are
    /// found whole.
    pub indexes: [Overlap; 2],
}

/// The questions with their right answers.
pub fn questions(params: &CorpusParams, cx: &TaskContext) -> anyhow::Result<Questions> {
    let ngram = params.decontaminate.question_ngram;
    let (mut asked, mut short) = (0, 0);
    let mut protected = [Protected::default(), Protected::default()];
    for file in cx.source("questions") {
        cx.check_cancelled()?;
        let mut number = 0;
        questions::read(file, &QuestionsParams::default(), &mut |question| {
            (asked, number) = (asked + 1, number + 1);
            let (context, answer) = &question.options[question.answer];
            let text = unlabelled(&format!("{context}{answer}"));
            let (which, n) = match Content::Text(&text).words(ngram) {
                words if words >= ngram => (0, ngram),
                words if words >= SHORT => (1, SHORT),
                _ => {
                    short += 1;
                    return Ok(());
                }
            };
            let hash: Hash = blake3::hash(text.as_bytes()).as_bytes()[..16].try_into()?;
            let name = format!("{} question {number}", file.name);
            protected[which].push(hash, name, Content::Text(&text).ngrams(n));
            Ok(())
        })?;
    }
    let [long, shorter] = protected;
    Ok(Questions {
        asked,
        short,
        indexes: [
            long.index(ngram, Rule::Any),
            shorter.index(SHORT, Rule::Whole),
        ],
    })
}

/// Without what the harness puts before questions and answers: texts have them with other words between.
fn unlabelled(text: &str) -> String {
    let labels = ["Question:", "Answer:", "Q:", "A:"];
    let bare = |line| {
        labels
            .iter()
            .find_map(|label| str::strip_prefix(line, *label))
            .unwrap_or(line)
    };
    text.lines().map(bare).collect::<Vec<&str>>().join("\n")
}
