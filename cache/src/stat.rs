//! The stat cache: digests of source files by path, as long as nothing about them changed.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rayon::prelude::*;

use crate::error::Doing;
use crate::index::{self, Index};
use crate::objects::{Stamp, hash_file};
use crate::{CacheError, Digest};

/// A file changed this recently may change again without its time showing it ("racily clean" in
/// git's words), so its digest is not remembered.
const RACY: Duration = Duration::from_secs(2);

/// The digest and size of each file, hashing only those that changed.
pub(crate) fn digests(index: &Index, paths: &[PathBuf]) -> Result<Vec<(Digest, u64)>, CacheError> {
    let found: Vec<(Digest, Stamp, bool)> = paths
        .par_iter()
        .map(|path| digest(index, path))
        .collect::<Result<_, _>>()?;
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    let quiet_since = now.saturating_sub(RACY).as_nanos() as i128;
    let mut batch = sled::Batch::default();
    let mut any = false;
    for (path, (digest, stamp, hashed)) in paths.iter().zip(&found) {
        if *hashed && stamp.mtime_ns.max(stamp.ctime_ns) < quiet_since {
            let mut value = stamp.to_bytes().to_vec();
            value.extend_from_slice(digest.as_bytes());
            let path = path.as_os_str().as_encoded_bytes();
            batch.insert(path, index::checked(path, &value));
            any = true;
        }
    }
    if any {
        index.sources.apply_batch(batch)?;
    }
    Ok(found
        .into_iter()
        .map(|(digest, stamp, _)| (digest, stamp.size))
        .collect())
}

/// (digest, stamp, whether it had to be hashed).
fn digest(index: &Index, path: &Path) -> Result<(Digest, Stamp, bool), CacheError> {
    let stamp = || {
        std::fs::metadata(path)
            .map(|meta| Stamp::of(&meta))
            .doing("read", path)
    };
    let before = stamp()?;
    let name = path.as_os_str().as_encoded_bytes();
    let entry = index.sources.get(name)?;
    if let Some(known) = entry
        .as_ref()
        .and_then(|entry| index::value_of(name, entry))
        && known.len() == Stamp::BYTES + 32
        && known[..Stamp::BYTES] == before.to_bytes()
    {
        let bytes: [u8; 32] = known[Stamp::BYTES..]
            .try_into()
            .expect("the length was checked");
        return Ok((Digest::from_bytes(bytes), before, false));
    }
    let digest = hash_file(path).doing("read", path)?;
    if stamp()? != before {
        return Err(CacheError::Changed {
            path: path.to_path_buf(),
        });
    }
    Ok((digest, before, true))
}
