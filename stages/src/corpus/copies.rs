//! Texts that were there before, and which were so most often.

use std::collections::HashMap;

use serde_json::{Value, json};

use super::choose::Hash;

/// Texts that are named.
const KEPT: usize = 5;

#[derive(Default)]
pub struct Copies {
    /// Costs some 40 bytes a text that has any.
    of: HashMap<Hash, u64>,
    /// The texts with most copies: how many, and where one of them stood.
    most: Vec<(u64, Hash, String)>,
}

impl Copies {
    pub fn add(&mut self, hash: &Hash, source: impl Fn() -> String) {
        let count = self.of.entry(*hash).or_default();
        *count += 1;
        let this = (*count, *hash);
        if let Some(known) = self.most.iter_mut().find(|known| known.1 == *hash) {
            known.0 = *count;
        } else if self.most.len() < KEPT {
            self.most.push((this.0, this.1, source()));
        } else {
            let least = self.most.iter_mut().min_by_key(|least| (least.0, least.1));
            // Each copy comes by here, so what has most in the end was more than the least once.
            if let Some(least) = least.filter(|least| (least.0, least.1) < this) {
                *least = (this.0, this.1, source());
            }
        }
    }

    fn most(&self) -> Vec<&(u64, Hash, String)> {
        let mut most: Vec<_> = self.most.iter().collect();
        most.sort_unstable_by_key(|of| std::cmp::Reverse((of.0, of.1)));
        most
    }

    /// `a.md (12 times), b.md (3 times)`.
    pub fn describe(&self, most: usize) -> String {
        let times = |count: u64| {
            if count == 1 {
                "once".into()
            } else {
                format!("{count} times")
            }
        };
        let named = self.most().into_iter().take(most);
        let named: Vec<String> = named
            .map(|(count, _, source)| format!("{source} ({})", times(*count)))
            .collect();
        named.join(", ")
    }

    /// For the report; nothing where there are none.
    pub fn report(&self) -> Option<Value> {
        let most: Vec<Value> = self
            .most()
            .into_iter()
            .map(|(count, _, source)| json!({"copies": count, "source": source}))
            .collect();
        (!most.is_empty()).then(|| json!({"texts": self.of.len(), "most": most}))
    }
}
