//! What a kind takes and makes.

/// The type of an artifact, e.g. `embeddings`. Two ports fit when their types are equal.
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
    pub const fn one(name: &'static str, ty: ArtifactType, doc: &'static str) -> InputPort {
        InputPort::of(Arity::One, name, ty, doc)
    }

    pub const fn optional(name: &'static str, ty: ArtifactType, doc: &'static str) -> InputPort {
        InputPort::of(Arity::Optional, name, ty, doc)
    }

    pub const fn many(name: &'static str, ty: ArtifactType, doc: &'static str) -> InputPort {
        InputPort::of(Arity::Many, name, ty, doc)
    }

    const fn of(
        arity: Arity,
        name: &'static str,
        ty: ArtifactType,
        doc: &'static str,
    ) -> InputPort {
        InputPort {
            name,
            ty,
            arity,
            doc,
        }
    }
}

impl OutputPort {
    /// A file or folder that is one artifact.
    pub const fn whole(name: &'static str, ty: ArtifactType, doc: &'static str) -> OutputPort {
        OutputPort {
            name,
            ty,
            items: None,
            doc,
        }
    }

    /// A folder whose files are items of type `item`.
    pub const fn list(
        name: &'static str,
        ty: ArtifactType,
        item: ArtifactType,
        doc: &'static str,
    ) -> OutputPort {
        OutputPort {
            name,
            ty,
            items: Some(item),
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
