//! `questions`: a multiple-choice benchmark as token ids. JSON.

use serde::{Deserialize, Serialize};

use super::json::{Checked, json_format};

/// A benchmark.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Questions {
    /// As in the metric `accuracy/NAME`.
    pub name: String,
    pub vocab_size: usize,
    /// What stands before a choice without a context.
    pub end_of_text: u32,
    pub items: Vec<Item>,
}

json_format!(Questions, "questions");

impl Checked for Questions {
    const WHAT: &'static str = "the questions";

    fn problem(&self) -> Option<String> {
        let known = |ids: &[u32]| ids.iter().all(|id| (*id as usize) < self.vocab_size);
        if !known(&[self.end_of_text]) {
            return Some("its `end_of_text` is not in its vocabulary".into());
        }
        let wrong = self.items.iter().position(|item| {
            let whole = |choice: &Choice| {
                !choice.continuation.is_empty()
                    && known(&choice.context)
                    && known(&choice.continuation)
            };
            item.answer >= item.choices.len() || !item.choices.iter().all(whole)
        });
        wrong.map(|at| {
            format!(
                "question {at} has an answer that is none of its choices, an empty choice, or a \
                 token id beyond its vocabulary of {}",
                self.vocab_size
            )
        })
    }
}

/// A question.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Item {
    pub choices: Vec<Choice>,
    /// The index of the right one.
    pub answer: usize,
}

/// One of the texts to choose from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Choice {
    pub context: Vec<u32>,
    /// Not empty.
    pub continuation: Vec<u32>,
    /// Length of the continuation's text.
    pub bytes: usize,
}
