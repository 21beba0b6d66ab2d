//! The log of changes that `interpose.c` writes.

use std::path::Path;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Create = 1,
    Truncate,
    Write,
    Sync,
    SyncFolder,
    /// Of a file's data alone: without its length it is no promise.
    SyncRange,
    MakeFolder,
    Rename,
    Link,
    Remove,
    RemoveFolder,
}

const KINDS: [Kind; 11] = [
    Kind::Create,
    Kind::Truncate,
    Kind::Write,
    Kind::Sync,
    Kind::SyncFolder,
    Kind::SyncRange,
    Kind::MakeFolder,
    Kind::Rename,
    Kind::Link,
    Kind::Remove,
    Kind::RemoveFolder,
];

#[derive(Clone, Debug)]
pub struct Change {
    pub kind: Kind,
    pub path: String,
    /// Where a rename or a link goes.
    pub other: String,
    pub inode: u64,
    /// The offset of a write, the length after a truncation; for a sync, where the log ended when
    /// it began.
    pub number: u64,
    pub data: Vec<u8>,
    /// Where it begins in the log.
    pub place: u64,
}

pub fn read(log: &Path) -> Vec<Change> {
    let log = std::fs::read(log).expect("a log of changes");
    let mut rest = &log[..];
    let mut changes = Vec::new();
    while !rest.is_empty() {
        let place = (log.len() - rest.len()) as u64;
        let mut take = |n: usize| {
            let (taken, left) = rest.split_at(n);
            rest = left;
            taken
        };
        let mut small = || u32::from_ne_bytes(take(4).try_into().expect("4 bytes")) as usize;
        let [kind, path, other, data] = [small(), small(), small(), small()];
        let mut large = || u64::from_ne_bytes(take(8).try_into().expect("8 bytes"));
        let (inode, number) = (large(), large());
        let mut text = |n| String::from_utf8(take(n).to_vec()).expect("UTF-8");
        changes.push(Change {
            kind: KINDS[kind - 1],
            path: text(path),
            other: text(other),
            inode,
            number,
            data: take(data).to_vec(),
            place,
        });
    }
    changes
}
