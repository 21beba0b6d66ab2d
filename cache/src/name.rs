//! Names of tasks, for people and for the files of a run.
//!
//! `search[2].train~3{clusters=48}[5]` is, from left to right, of the repeat `search` its iteration 2,
//! the stage `train`, link 3 of its chain, the sweep's variant `clusters=48`, and item 5 of its list.
//! All but the stage may be absent. Iterations and links count from 1, items from 0. Without its item
//! it is the name of the node whose tasks these are.

use std::borrow::Borrow;
use std::fmt;
use std::ops::Deref;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Names a task in a run. Written only here, and taken apart only here ([`Parts`]).
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TaskName(Box<str>);

/// What a task's name says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parts<'a> {
    /// The repeat, and its iteration.
    pub repeat: Option<(&'a str, usize)>,
    pub stage: &'a str,
    pub link: Option<usize>,
    pub variant: Option<&'a str>,
    pub item: Option<usize>,
}

/// A text that is no task's name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no task's name: one is `stage`, `stage[item]` or `repeat[iteration].stage[item]`"
)]
pub struct NoTaskName(String);

impl TaskName {
    /// Of a stage, in an iteration of a repeat or outside of any.
    pub fn of(repeat: Option<(&str, usize)>, stage: &str) -> TaskName {
        let parts = Parts {
            repeat,
            ..Parts::whole(stage)
        };
        parts.name()
    }

    /// The `link`th of the chain before this.
    pub fn with_link(&self, link: usize) -> TaskName {
        self.with(|parts| parts.link = Some(link))
    }

    /// This in a variant of a sweep.
    pub fn with_variant(&self, variant: &str) -> TaskName {
        let mut parts = self.parts();
        parts.variant = Some(variant);
        parts.name()
    }

    /// The task of this node's list that has this item.
    pub fn with_item(&self, item: usize) -> TaskName {
        self.with(|parts| parts.item = Some(item))
    }

    /// The name of the task's node: `search[2].train{clusters=48}`.
    pub fn node(&self) -> TaskName {
        self.with(|parts| parts.item = None)
    }

    /// Whether this is a task of the node.
    pub fn is_of(&self, node: &str) -> bool {
        *self.node() == *node
    }

    /// Whether this is a task of the node's fan-out.
    pub fn is_item_of(&self, node: &str) -> bool {
        self.item().is_some() && self.is_of(node)
    }

    /// The same task, or node, of the workflow without a sweep.
    pub fn without_variant(&self) -> TaskName {
        self.with(|parts| parts.variant = None)
    }

    /// The stage as the workflow has it, whatever the iteration: `search.train`, `search.train~3`.
    pub fn stage(&self) -> String {
        self.parts().stage()
    }

    pub fn item(&self) -> Option<usize> {
        self.parts().item
    }

    /// What it is made of. A name from outside that is none is a stage's as a whole.
    pub fn parts(&self) -> Parts<'_> {
        Parts::of(self).unwrap_or(Parts::whole(self))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn with(&self, change: impl FnOnce(&mut Parts)) -> TaskName {
        let mut parts = self.parts();
        change(&mut parts);
        parts.name()
    }
}

impl<'a> Parts<'a> {
    /// Of a stage alone.
    fn whole(stage: &'a str) -> Parts<'a> {
        Parts {
            repeat: None,
            stage,
            link: None,
            variant: None,
            item: None,
        }
    }

    /// Takes a name apart; `None` where it is none.
    pub fn of(name: &'a str) -> Option<Parts<'a>> {
        let (rest, item) = cut_item(name);
        let (rest, variant) = match rest.strip_suffix('}') {
            Some(rest) => rest.split_once('{').map(|(r, v)| (r, Some(v)))?,
            None => (rest, None),
        };
        let (repeat, rest) = match rest.split_once("].") {
            Some((repeat, rest)) => {
                let (repeat, iteration) = repeat.split_once('[')?;
                (Some((repeat, iteration.parse().ok()?)), rest)
            }
            None => (None, rest),
        };
        let (stage, link) = match rest.split_once('~') {
            Some((stage, link)) => (stage, Some(link.parse().ok()?)),
            None => (rest, None),
        };
        let is_plain = |part: &str| !part.is_empty() && !part.contains(['[', ']', '{', '}']);
        let plain = is_plain(stage) && repeat.is_none_or(|(repeat, _)| is_plain(repeat));
        plain.then_some(Parts {
            repeat,
            stage,
            link,
            variant,
            item,
        })
    }

    /// As [`TaskName::stage`].
    pub fn stage(&self) -> String {
        let repeat = self.repeat.map(|(repeat, _)| format!("{repeat}."));
        let link = self.link.map(|link| format!("~{link}"));
        [repeat.as_deref(), Some(self.stage), link.as_deref()]
            .into_iter()
            .flatten()
            .collect()
    }

    pub fn name(&self) -> TaskName {
        TaskName(self.to_string().into())
    }
}

/// The stage and the output that an artifact's name tells: of `search[2].train{k=4}[5].model` it is
/// `search.train.model`.
pub fn maker(artifact: &str) -> String {
    let mut depth = 0;
    let outside = |c: &char| {
        match c {
            '[' | '{' => depth += 1,
            ']' | '}' => {
                depth -= 1;
                return false;
            }
            _ => {}
        }
        depth == 0
    };
    artifact.chars().filter(outside).collect()
}

/// The task, or node, and the output that an artifact's name tells: of `train{lr=0.1}.model` they are
/// `train{lr=0.1}` and `model`. `None` where it tells no output.
pub fn split_output(artifact: &str) -> Option<(&str, &str)> {
    let (made_by, output) = artifact.rsplit_once('.')?;
    let is_plain = !output.contains(['[', ']', '{', '}']);
    is_plain.then_some((made_by, output))
}

/// A name of the workflow's own, in the iteration that is told of its repeat: `search.fit` is
/// `search[3].fit`.
pub fn in_iteration(name: &str, iteration: impl Fn(&str) -> Option<usize>) -> String {
    let of_repeat = |(repeat, stage)| Some(TaskName::of(Some((repeat, iteration(repeat)?)), stage));
    let name_then = name.split_once('.').and_then(of_repeat);
    name_then.map_or_else(|| name.into(), |name| name.to_string())
}

/// Whether `start` is the whole name, or ends where a part of it does: `search` and `search[2]` of
/// `search[2].train~3[5]`.
pub fn starts_with(name: &str, start: &str) -> bool {
    let rest = name.strip_prefix(start);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[', '{', '~']))
}

/// `train{k=4}[5]` -> `train{k=4}`, 5.
fn cut_item(name: &str) -> (&str, Option<usize>) {
    let cut = || {
        let (rest, item) = name.strip_suffix(']')?.rsplit_once('[')?;
        Some((rest, item.parse().ok()?))
    };
    cut().map_or((name, None), |(rest, item)| (rest, Some(item)))
}

impl fmt::Display for Parts<'_> {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        if let Some((repeat, iteration)) = self.repeat {
            write!(f, "{repeat}[{iteration}].")?;
        }
        f.write_str(self.stage)?;
        if let Some(link) = self.link {
            write!(f, "~{link}")?;
        }
        if let Some(variant) = self.variant {
            write!(f, "{{{variant}}}")?;
        }
        match self.item {
            Some(item) => write!(f, "[{item}]"),
            None => Ok(()),
        }
    }
}

impl FromStr for TaskName {
    type Err = NoTaskName;

    fn from_str(text: &str) -> Result<TaskName, NoTaskName> {
        let parts = Parts::of(text).ok_or_else(|| NoTaskName(text.to_string()))?;
        Ok(parts.name())
    }
}

/// As a record or a journal has it: what is there is not judged.
impl From<&str> for TaskName {
    fn from(text: &str) -> TaskName {
        TaskName(text.into())
    }
}

impl fmt::Display for TaskName {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl Deref for TaskName {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for TaskName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl PartialEq<str> for TaskName {
    fn eq(&self, other: &str) -> bool {
        *self.0 == *other
    }
}

impl PartialEq<&str> for TaskName {
    fn eq(&self, other: &&str) -> bool {
        *self.0 == **other
    }
}

impl From<TaskName> for String {
    fn from(name: TaskName) -> String {
        name.0.into()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_a_user_writes_is_taken_apart() {
        let output = Some(("search[2].train{lr=0.1}[5]", "model"));
        assert_eq!(split_output("search[2].train{lr=0.1}[5].model"), output);
        assert_eq!(split_output("embed"), None);
        assert_eq!(split_output("train{lr=0.1}"), None);
        let last = |repeat: &str| (repeat == "search").then_some(3);
        assert_eq!(
            in_iteration("search.fit.model", last),
            "search[3].fit.model"
        );
        for as_it_is in ["search[1].fit", "select.mixture", "search"] {
            assert_eq!(in_iteration(as_it_is, last), as_it_is);
        }
        for start in [
            "search",
            "search[2]",
            "search[2].train",
            "search[2].train~3",
        ] {
            assert!(starts_with("search[2].train~3", start), "{start}");
        }
        assert!(!starts_with("search[2].train~3", "search[2].tr"));
        assert!(!starts_with("embed", "embedding"));
    }

    #[test]
    fn a_name_says_what_the_task_is() {
        let name: TaskName = "search[2].train~3{clusters=48,size=6.2M}[5]"
            .parse()
            .unwrap();
        let parts = Parts {
            repeat: Some(("search", 2)),
            stage: "train",
            link: Some(3),
            variant: Some("clusters=48,size=6.2M"),
            item: Some(5),
        };
        assert_eq!(name.parts(), parts);
        assert_eq!(name.stage(), "search.train~3");
        assert_eq!(name.node(), "search[2].train~3{clusters=48,size=6.2M}");
        assert_eq!(name.without_variant(), "search[2].train~3[5]");
        let embed = TaskName::of(None, "embed");
        assert_eq!(
            (&*embed, embed.stage().as_str(), embed.item()),
            ("embed", "embed", None)
        );
        assert_eq!(
            TaskName::of(Some(("search", 2)), "train").with_item(15),
            "search[2].train[15]"
        );
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for text in [
            "", "a[", "a]", "[0]", "a[2]b", "a[x].b", "{v}", "a{v", "a~b", "a[1].", "[1].a",
        ] {
            assert!(text.parse::<TaskName>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_name_read_back_is_the_same(
            repeat in proptest::option::of(("[a-z][a-z0-9_-]{0,6}", 1usize..100)),
            stage in "[a-zA-Z_][a-zA-Z0-9_-]{0,8}",
            link in proptest::option::of(1usize..20),
            variant in proptest::option::of("[^\\[\\]{}/\\p{Cc}]{1,20}"),
            item in proptest::option::of(0usize..100_000),
        ) {
            let parts = Parts {
                repeat: repeat.as_ref().map(|(name, i)| (name.as_str(), *i)),
                stage: &stage,
                link,
                variant: variant.as_deref(),
                item,
            };
            let name: TaskName = parts.to_string().parse().unwrap();
            prop_assert_eq!(name.parts(), parts);
        }
    }
}
