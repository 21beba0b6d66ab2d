//! Source files: the digests of those that did not change, by path, and whether anybody touched one
//! since it was looked at.

use std::collections::HashMap;
use std::fs::{self, Permissions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rayon::prelude::*;
use tempfile::NamedTempFile;

use crate::durable::put_in_place;
use crate::error::Doing;
use crate::index::{self, Index};
use crate::layout::Layout;
use crate::plain::read_plain;
use crate::sight::Sight;
use crate::stamp::{Stamp, hash_at_rest, hash_file};
use crate::{Cache, CacheError, Digest};

/// A file changed this recently may change again without its time showing it ("racily clean" in
/// git's words), so its digest is not remembered.
const RACY: Duration = Duration::from_secs(2);

/// A source file as it was when it was looked at.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    pub digest: Digest,
    sight: Sight,
}

impl Seen {
    pub fn size(&self) -> u64 {
        self.sight.stamp.size
    }
}

/// Digests of source files as the index had them: like it, by path, each with its check.
#[derive(Default)]
pub(crate) struct Known(HashMap<Vec<u8>, Vec<u8>>);

impl Known {
    /// Those that the process with the cache has put down; none where it has not.
    pub fn of_holder(layout: Layout) -> Known {
        let bytes = read_plain(&layout.known_sources()).unwrap_or_default();
        let (mut known, mut rest) = (HashMap::new(), &bytes[..]);
        // One that is cut off ends it. The entries check themselves.
        while let Some((path, after)) = take_text(rest)
            && let Some((entry, after)) = take_text(after)
        {
            known.insert(path.to_vec(), entry.to_vec());
            rest = after;
        }
        Known(known)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The digest and size of each file; those that are not known as they are now are read.
    pub fn digests(&self, paths: &[PathBuf]) -> Result<Vec<(Digest, u64)>, CacheError> {
        let digest = |path: &PathBuf| {
            let sight = look_at(path)?;
            let name = path.as_os_str().as_encoded_bytes();
            let entry = self.0.get(name).map(Vec::as_slice);
            let digest = match known_digest(name, entry, sight.stamp) {
                Some(digest) => digest,
                None => hash_file(path).doing("read", path)?,
            };
            Ok((digest, sight.stamp.size))
        };
        paths.par_iter().map(digest).collect()
    }
}

fn put_text(to: &mut Vec<u8>, text: &[u8]) {
    to.extend_from_slice(&(text.len() as u32).to_le_bytes());
    to.extend_from_slice(text);
}

fn take_text(from: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = from.split_first_chunk()?;
    rest.split_at_checked(u32::from_le_bytes(*length) as usize)
}

/// What an entry of the index says of a file that has this stamp.
fn known_digest(name: &[u8], entry: Option<&[u8]>, stamp: Stamp) -> Option<Digest> {
    let (of, digest) = index::value_of(name, entry?)?.split_at_checked(Stamp::BYTES)?;
    let digest = digest.try_into().ok().map(Digest::from_bytes)?;
    (*of == stamp.to_bytes()).then_some(digest)
}

impl Cache {
    /// Puts down what is known of source files, so that those who look while this process has the
    /// cache need not read them all.
    pub fn share_sources(&self) -> Result<(), CacheError> {
        let mut bytes = Vec::new();
        for entry in self.index.sources.iter() {
            let (path, entry) = entry?;
            put_text(&mut bytes, &path);
            put_text(&mut bytes, &entry);
        }
        let (path, tmp) = (self.layout().known_sources(), self.layout().tmp());
        let mut file = NamedTempFile::new_in(&tmp).doing("make a file in", &tmp)?;
        file.write_all(&bytes).doing("write", &path)?;
        // Others who may read the cache may read it.
        fs::set_permissions(file.path(), Permissions::from_mode(0o444)).doing("protect", &path)?;
        put_in_place(file, &path)
    }

    /// Nobody looks beside this process any more.
    pub(crate) fn unshare_sources(&self) {
        let _ = fs::remove_file(self.layout().known_sources());
    }

    /// Source files as they are now; only changed ones are read.
    pub fn see_sources(&self, paths: &[PathBuf]) -> Result<Vec<Seen>, CacheError> {
        digests(&self.index, paths)
    }

    /// The digest and size of each source file; only changed ones are read.
    pub fn source_digests(&self, paths: &[PathBuf]) -> Result<Vec<(Digest, u64)>, CacheError> {
        let seen = self.see_sources(paths)?;
        Ok(seen.iter().map(|seen| (seen.digest, seen.size())).collect())
    }

    /// The first of these source files that somebody touched since it was seen, though it may have
    /// been put back. A change of mode or owner, and a name more or less (a backup of hard links), touch no bytes:
    /// where such explains the new ctime, the file is hashed and may go on.
    pub fn touched_source<'p>(
        &self,
        paths: &'p [PathBuf],
        seen: &[Seen],
    ) -> Result<Option<&'p PathBuf>, CacheError> {
        let touched = paths.par_iter().zip(seen).map(|(path, seen)| {
            let untouched = is_untouched(path, seen)?;
            Ok((!untouched).then_some(path))
        });
        let touched: Vec<Option<&PathBuf>> = touched.collect::<Result<_, CacheError>>()?;
        Ok(touched.into_iter().flatten().next())
    }
}

fn is_untouched(path: &Path, seen: &Seen) -> Result<bool, CacheError> {
    let now = look_at(path)?;
    let before = seen.sight;
    if now == before {
        return Ok(true);
    }
    if !now.is_explained_since(&before) && !now.stamp.is_renumbered_since(before.stamp) {
        return Ok(false);
    }
    Ok(hash_at_rest(path)?.0 == seen.digest)
}

/// A source may be a link to a file.
fn look_at(path: &Path) -> Result<Sight, CacheError> {
    let meta = path.metadata().doing("read", path)?;
    Ok(Sight::of(&meta))
}

/// Each file, hashed where it changed.
fn digests(index: &Index, paths: &[PathBuf]) -> Result<Vec<Seen>, CacheError> {
    let found: Vec<(Seen, bool)> = paths
        .par_iter()
        .map(|path| digest(index, path))
        .collect::<Result<_, _>>()?;
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    let quiet_since = now.saturating_sub(RACY).as_nanos() as i128;
    let mut batch = sled::Batch::default();
    let mut any = false;
    for (path, (seen, hashed)) in paths.iter().zip(&found) {
        let stamp = seen.sight.stamp;
        if *hashed && stamp.mtime_ns.max(stamp.ctime_ns) < quiet_since {
            let mut value = stamp.to_bytes().to_vec();
            value.extend_from_slice(seen.digest.as_bytes());
            let path = path.as_os_str().as_encoded_bytes();
            batch.insert(path, index::checked(path, &value));
            any = true;
        }
    }
    if any {
        index.sources.apply_batch(batch)?;
    }
    Ok(found.into_iter().map(|(seen, _)| seen).collect())
}

/// A file, and whether it had to be hashed.
fn digest(index: &Index, path: &Path) -> Result<(Seen, bool), CacheError> {
    let sight = look_at(path)?;
    let name = path.as_os_str().as_encoded_bytes();
    let entry = index.sources.get(name)?;
    if let Some(digest) = known_digest(name, entry.as_deref(), sight.stamp) {
        return Ok((Seen { digest, sight }, false));
    }
    let (digest, stamp) = hash_at_rest(path)?;
    if stamp != sight.stamp {
        return Err(CacheError::Changed {
            path: path.to_path_buf(),
        });
    }
    Ok((Seen { digest, sight }, true))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Look, Reader};

    #[test]
    fn who_looks_beside_a_process_believes_what_it_put_down_of_files_as_they_are() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(&dir.path().join("cache"), "test").unwrap();
        let paths: Vec<PathBuf> = ["a", "b", "c"].map(|name| dir.path().join(name)).into();
        for path in &paths {
            fs::write(path, "text").unwrap();
        }
        let (right, told) = (Digest::of(b"text"), Digest::of(b"told"));
        // What it says is another digest, so that it shows who was asked.
        let tell = |path: &PathBuf, spoil: bool| {
            let name = path.as_os_str().as_encoded_bytes();
            let mut value = look_at(path).unwrap().stamp.to_bytes().to_vec();
            value.extend_from_slice(told.as_bytes());
            let mut entry = index::checked(name, &value);
            entry[20] ^= u8::from(spoil);
            cache.index.sources.insert(name, entry).unwrap();
        };
        let look = || {
            let look = Look::new(cache.dir()).unwrap();
            let digests = look.source_digests(&paths).unwrap();
            let digests: Vec<Digest> = digests.into_iter().map(|(digest, _)| digest).collect();
            (look.hashes_sources_anew(), digests)
        };
        assert_eq!(look(), (true, vec![right; 3]));
        tell(&paths[0], false);
        tell(&paths[1], true);
        tell(&paths[2], false);
        cache.share_sources().unwrap();
        assert_eq!(look(), (false, vec![told, right, told]));
        fs::write(&paths[2], "more").unwrap();
        assert_eq!(look().1, [told, right, Digest::of(b"more")]);
        // One that was cut off.
        let file = Layout::of(cache.dir()).known_sources();
        let bytes = fs::read(&file).unwrap();
        fs::write(&file, &bytes[..bytes.len() - 1]).unwrap();
        assert_eq!(look().1[0], told);
    }
}
