//! `questions`: a multiple-choice benchmark as token ids. JSON.

use serde::{Deserialize, Serialize};

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
