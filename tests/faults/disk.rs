//! What a disk may hold after a power loss: a model of a folder that takes changes one by one and
//! knows which of them a sync has made last.
//!
//! A file's content lasts from its own sync on, a name from the sync of its folder on. What was not
//! synced may be there, in part or not at all: of names those that were changed first, in each
//! folder, as journaling file systems keep them; of content any part, or zeros, or nothing.

use std::collections::BTreeMap;
use std::path::Path;

use crate::changes::{Change, Kind};
use crate::random::Random;

/// A file or folder, by its place in [`Disk::nodes`].
type Id = usize;

enum Node {
    File(File),
    Folder(Folder),
}

#[derive(Default)]
struct File {
    lasting: Vec<u8>,
    /// With their place in the log.
    pending: Vec<(u64, Edit)>,
}

enum Edit {
    Write(u64, Vec<u8>),
    Truncate(u64),
}

#[derive(Default)]
struct Folder {
    now: BTreeMap<String, Id>,
    lasting: BTreeMap<String, Id>,
    pending: Vec<Naming>,
}

/// A name given to a file or folder, or taken away.
#[derive(Clone)]
struct Naming {
    place: u64,
    name: String,
    to: Option<Id>,
    /// The folder where a rename put what it took from here: a name is not lost by renaming.
    moved_to: Option<Id>,
}

/// How much of what was not synced is lost.
#[derive(Clone, Copy, Debug)]
pub enum Loss {
    /// All of it.
    All,
    /// Names are there, content is not.
    Content,
    /// Chance decides, for each folder and each file.
    Some,
}

pub struct Disk {
    nodes: Vec<Node>,
    inodes: BTreeMap<u64, Id>,
    /// The path of the folder that is modelled, and of which nothing is lost.
    root: String,
}

impl Disk {
    pub fn new(root: &Path) -> Disk {
        let root = root.to_str().expect("UTF-8").to_string();
        Disk {
            nodes: vec![Node::Folder(Folder::default())],
            inodes: BTreeMap::new(),
            root,
        }
    }

    fn folder(&mut self, id: Id) -> &mut Folder {
        match &mut self.nodes[id] {
            Node::Folder(folder) => folder,
            Node::File(_) => panic!("a file where a folder should be"),
        }
    }

    fn file(&mut self, inode: u64) -> &mut File {
        match &mut self.nodes[self.inodes[&inode]] {
            Node::File(file) => file,
            Node::Folder(_) => panic!("a folder where a file should be"),
        }
    }

    /// The folder that holds a path, and the path's last part.
    fn parent(&mut self, path: &str) -> (Id, String) {
        let below = path.strip_prefix(&self.root).expect("below the root");
        let mut parts: Vec<&str> = below.split('/').filter(|part| !part.is_empty()).collect();
        let name = parts.pop().unwrap_or_default().to_string();
        let mut id = 0;
        for part in parts {
            id = self.folder(id).now[part];
        }
        (id, name)
    }

    fn find(&mut self, path: &str) -> Id {
        match self.parent(path) {
            (id, name) if name.is_empty() => id,
            (id, name) => self.folder(id).now[&name],
        }
    }

    fn name(&mut self, place: u64, path: &str, to: Option<Id>, moved_to: Option<Id>) -> Id {
        let (id, name) = self.parent(path);
        let folder = self.folder(id);
        match to {
            Some(node) => _ = folder.now.insert(name.clone(), node),
            None => {
                _ = folder
                    .now
                    .remove(&name)
                    .unwrap_or_else(|| panic!("{path} is removed and was not there"))
            }
        }
        folder.pending.push(Naming {
            place,
            name,
            to,
            moved_to,
        });
        id
    }

    fn make(&mut self, change: &Change, node: Node) {
        self.nodes.push(node);
        let id = self.nodes.len() - 1;
        if change.kind == Kind::Create {
            self.inodes.insert(change.inode, id);
        }
        self.name(change.place, &change.path, Some(id), None);
    }

    pub fn apply(&mut self, change: &Change) {
        let place = change.place;
        match change.kind {
            Kind::Create => self.make(change, Node::File(File::default())),
            Kind::MakeFolder => self.make(change, Node::Folder(Folder::default())),
            Kind::Write => {
                let edit = Edit::Write(change.number, change.data.clone());
                self.file(change.inode).pending.push((place, edit));
            }
            Kind::Truncate => {
                let edit = Edit::Truncate(change.number);
                self.file(change.inode).pending.push((place, edit));
            }
            Kind::Sync => self.file(change.inode).sync(change.number),
            Kind::SyncFolder => {
                let id = self.find(&change.path);
                self.sync_folder(id, change.number);
            }
            // Data without the file's length, which may be lost all the same.
            Kind::SyncRange => {}
            Kind::Rename => {
                let node = self.find(&change.path);
                let to = self.name(place, &change.other, Some(node), None);
                self.name(place, &change.path, None, Some(to));
            }
            Kind::Link => {
                let node = self.find(&change.path);
                self.name(place, &change.other, Some(node), None);
            }
            Kind::Remove | Kind::RemoveFolder => _ = self.name(place, &change.path, None, None),
        }
    }

    /// Makes the names given before `begun` last. A name that was taken away by a rename does not
    /// go without the other coming.
    fn sync_folder(&mut self, id: Id, begun: u64) {
        let folder = self.folder(id);
        let pending = std::mem::take(&mut folder.pending);
        let (done, later): (Vec<_>, Vec<_>) = pending.into_iter().partition(|n| n.place < begun);
        folder.pending = later;
        for naming in &done {
            set(&mut folder.lasting, naming);
        }
        for (other, place) in done.iter().filter_map(|n| Some((n.moved_to?, n.place))) {
            if other != id {
                self.sync_folder(other, place + 1);
            }
        }
    }

    /// All files as programs see them, by path below the root.
    pub fn contents(&self) -> BTreeMap<String, Vec<u8>> {
        let mut files = BTreeMap::new();
        self.walk(0, "", &|folder, _| folder.now.clone(), &mut |path, id| {
            if let Node::File(file) = &self.nodes[id] {
                files.insert(path.to_string(), file.now());
            }
        });
        files
    }

    /// Writes what a power loss now may leave into an empty folder.
    pub fn lose_power(&self, loss: Loss, random: &mut Random, into: &Path) {
        let kept = self.kept_names(loss, random);
        let names = |folder: &Folder, id: Id| {
            let mut names = folder.lasting.clone();
            for naming in &folder.pending[..kept[&id]] {
                set(&mut names, naming);
            }
            names
        };
        let mut written: BTreeMap<Id, std::path::PathBuf> = BTreeMap::new();
        self.walk(0, "", &names, &mut |path, id| {
            let path = into.join(path.trim_start_matches('/'));
            match (&self.nodes[id], written.get(&id)) {
                (Node::Folder(_), _) => std::fs::create_dir(path).expect("made"),
                (Node::File(_), Some(other)) => std::fs::hard_link(other, path).expect("linked"),
                (Node::File(file), None) => {
                    std::fs::write(&path, file.after(loss, random)).expect("written");
                    written.insert(id, path);
                }
            }
        });
    }

    /// For each folder how many of the names given since its last sync are on the disk.
    fn kept_names(&self, loss: Loss, random: &mut Random) -> BTreeMap<Id, usize> {
        let folders = self
            .nodes
            .iter()
            .enumerate()
            .filter_map(|(id, node)| match node {
                Node::Folder(folder) => Some((id, folder)),
                Node::File(_) => None,
            });
        let folders: Vec<(Id, &Folder)> = folders.collect();
        let mut kept: BTreeMap<Id, usize> = BTreeMap::new();
        for (id, folder) in &folders {
            let all = folder.pending.len();
            let n = match loss {
                Loss::All => 0,
                Loss::Content => all,
                Loss::Some => random.below(all as u64 + 1) as usize,
            };
            kept.insert(*id, n);
        }
        // A rename that took a name from here but has not come there has not happened.
        let mut settled = false;
        while !settled {
            settled = true;
            for (id, folder) in &folders {
                let arrived = |n: &Naming| match n.moved_to {
                    Some(to) => self.has(to, kept[&to], n.place),
                    None => true,
                };
                let good = folder.pending[..kept[id]].iter().take_while(|n| arrived(n));
                let good = good.count();
                if good < kept[id] {
                    kept.insert(*id, good);
                    settled = false;
                }
            }
        }
        kept
    }

    /// Whether a folder with so many of its pending names has the one given at `place`.
    fn has(&self, id: Id, kept: usize, place: u64) -> bool {
        let Node::Folder(folder) = &self.nodes[id] else {
            return false;
        };
        folder.pending[kept..]
            .iter()
            .all(|n| n.place != place || n.to.is_none())
    }

    fn walk(
        &self,
        id: Id,
        path: &str,
        names: &dyn Fn(&Folder, Id) -> BTreeMap<String, Id>,
        visit: &mut dyn FnMut(&str, Id),
    ) {
        let Node::Folder(folder) = &self.nodes[id] else {
            return;
        };
        for (name, id) in names(folder, id) {
            let path = format!("{path}/{name}");
            visit(&path, id);
            self.walk(id, &path, names, visit);
        }
    }
}

fn set(names: &mut BTreeMap<String, Id>, naming: &Naming) {
    match naming.to {
        Some(id) => _ = names.insert(naming.name.clone(), id),
        None => _ = names.remove(&naming.name),
    }
}

impl File {
    fn sync(&mut self, begun: u64) {
        let pending = std::mem::take(&mut self.pending);
        for (place, edit) in pending {
            match place < begun {
                true => edit.apply(&mut self.lasting, usize::MAX),
                false => self.pending.push((place, edit)),
            }
        }
    }

    fn now(&self) -> Vec<u8> {
        let mut bytes = self.lasting.clone();
        self.pending
            .iter()
            .for_each(|(_, edit)| edit.apply(&mut bytes, usize::MAX));
        bytes
    }

    /// The content after a power loss.
    fn after(&self, loss: Loss, random: &mut Random) -> Vec<u8> {
        let mut bytes = self.lasting.clone();
        let fate = match loss {
            Loss::All | Loss::Content => 0,
            Loss::Some => random.below(5),
        };
        let edits = self.pending.iter().map(|(_, edit)| edit);
        match fate {
            0 => {}
            1 => edits.for_each(|edit| edit.apply(&mut bytes, usize::MAX)),
            // Its length came, its blocks did not.
            2 => edits.for_each(|edit| edit.apply(&mut bytes, 0)),
            // Torn somewhere, at a sector's end.
            3 => {
                let whole = random.below(self.pending.len() as u64 + 1) as usize;
                let sectors = random.below(64) as usize;
                for (i, edit) in edits.enumerate().take(whole + 1) {
                    let most = if i < whole { usize::MAX } else { 512 * sectors };
                    edit.apply(&mut bytes, most);
                }
            }
            // Later blocks came before earlier ones.
            _ => edits.for_each(|edit| {
                let most = [0, usize::MAX][random.below(2) as usize];
                edit.apply(&mut bytes, most);
            }),
        }
        bytes
    }
}

impl Edit {
    /// `most`: how many bytes of a write arrive; the rest of what it covers is as it was, or zeros.
    fn apply(&self, bytes: &mut Vec<u8>, most: usize) {
        match self {
            Edit::Truncate(length) => bytes.resize(*length as usize, 0),
            Edit::Write(offset, data) => {
                let (start, end) = (*offset as usize, *offset as usize + data.len());
                if bytes.len() < end {
                    bytes.resize(end, 0);
                }
                let n = data.len().min(most);
                bytes[start..start + n].copy_from_slice(&data[..n]);
            }
        }
    }
}
