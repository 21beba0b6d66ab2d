//! Looking after what is there: how much it is, whether it is right, what may go, taking it elsewhere.

pub(crate) mod archive;
pub(crate) mod compact;
pub(crate) mod gc;
pub(crate) mod rebuild;
pub(crate) mod usage;
pub(crate) mod verify;
