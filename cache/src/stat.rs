//! Source files: the digests of those that did not change, by path, and whether anybody touched one
//! since it was looked at.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rayon::prelude::*;

use crate::error::Doing;
use crate::index::{self, Index};
use crate::sight::Sight;
use crate::stamp::{Stamp, hash_at_rest};
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

impl Cache {
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
    if let Some(known) = entry
        .as_ref()
        .and_then(|entry| index::value_of(name, entry))
        && known.len() == Stamp::BYTES + 32
        && known[..Stamp::BYTES] == sight.stamp.to_bytes()
    {
        let bytes: [u8; 32] = known[Stamp::BYTES..]
            .try_into()
            .expect("the length was checked");
        let digest = Digest::from_bytes(bytes);
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
