//! What a kind takes and makes.

use crate::format::Format;

/// The name of an artifact's type: [`Format::TYPE`].
pub type ArtifactType = &'static str;

/// How many artifacts an input port takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arity {
    One,
    /// May be left unwired; also what `previous.…` is in a first iteration.
    Optional,
    /// All the outputs of a fan-out (`all.…`), in item order. May be empty.
    Many,
}

#[derive(Clone, Copy, Debug)]
pub struct InputPort {
    pub name: &'static str,
    pub ty: ArtifactType,
    pub arity: Arity,
    pub doc: &'static str,
}

#[derive(Clone, Copy, Debug)]
pub struct OutputPort {
    pub name: &'static str,
    pub ty: ArtifactType,
    /// `Some(t)`: the artifact is a folder whose files are a list of items of type `t`, in file
    /// name order, over which `foreach` can map.
    pub items: Option<ArtifactType>,
    pub doc: &'static str,
}

impl InputPort {
    /// Takes one artifact.
    pub const fn one<F: Format>(name: &'static str, doc: &'static str) -> InputPort {
        InputPort::of::<F>(Arity::One, name, doc)
    }

    /// May be left unwired.
    pub const fn optional<F: Format>(name: &'static str, doc: &'static str) -> InputPort {
        InputPort::of::<F>(Arity::Optional, name, doc)
    }

    /// Takes all the outputs of a fan-out.
    pub const fn many<F: Format>(name: &'static str, doc: &'static str) -> InputPort {
        InputPort::of::<F>(Arity::Many, name, doc)
    }

    const fn of<F: Format>(arity: Arity, name: &'static str, doc: &'static str) -> InputPort {
        InputPort {
            name,
            ty: F::TYPE,
            arity,
            doc,
        }
    }
}

impl OutputPort {
    /// A file or folder that is one artifact.
    pub const fn whole<F: Format>(name: &'static str, doc: &'static str) -> OutputPort {
        OutputPort {
            name,
            ty: F::TYPE,
            items: None,
            doc,
        }
    }

    /// A folder whose files are items.
    pub const fn list<F: Format, Item: Format>(
        name: &'static str,
        doc: &'static str,
    ) -> OutputPort {
        OutputPort {
            name,
            ty: F::TYPE,
            items: Some(Item::TYPE),
            doc,
        }
    }
}

/// An input port whose name is known only from the YAML (`command` stages).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Input {
    pub name: String,
    /// `None`: any type fits.
    pub ty: Option<String>,
    pub arity: Arity,
    pub doc: String,
}

/// An output port, likewise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    pub name: String,
    pub ty: String,
    pub items: Option<String>,
    pub doc: String,
}
