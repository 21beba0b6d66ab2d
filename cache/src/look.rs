//! Reading a cache that another process holds: files only, never the index.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;

use crate::envelope::read_envelope;
use crate::objects::path_of;
use crate::{Digest, FileRef, Record};

/// The record of a task, from its file. `None` when it is not there or damaged.
pub fn record(cache: &Path, key: &Digest) -> Option<Record> {
    read_envelope(&path_of(&cache.join("records"), key)).map(|envelope| envelope.record)
}

/// The bytes of an output file of the task `key`, checked.
pub fn bytes(cache: &Path, key: &Digest, file: &FileRef) -> io::Result<Vec<u8>> {
    match fs::read(path_of(&cache.join("objects"), &file.digest)) {
        Ok(bytes) if Digest::of(&bytes) == file.digest => Ok(bytes),
        Ok(_) => Err(io::Error::other(format!(
            "object {} is damaged",
            file.digest.short()
        ))),
        Err(error) => read_envelope(&path_of(&cache.join("records"), key))
            .and_then(|envelope| envelope.bytes(&file.digest))
            .ok_or(error),
    }
}

/// Writes an output file of the task `key` to a new file at `to`, checked; in bounded memory.
pub fn copy(cache: &Path, key: &Digest, file: &FileRef, to: &Path) -> io::Result<()> {
    let mut object = match File::open(path_of(&cache.join("objects"), &file.digest)) {
        Ok(object) => object,
        // A small one is in the record.
        Err(_) => return fs::write(to, bytes(cache, key, file)?),
    };
    let (mut copy, mut hasher) = (File::create_new(to)?, blake3::Hasher::new());
    let mut buffer = vec![0; 1 << 20];
    loop {
        match object.read(&mut buffer)? {
            0 => break,
            n => {
                hasher.update(&buffer[..n]);
                copy.write_all(&buffer[..n])?;
            }
        }
    }
    if Digest::from(hasher.finalize()) != file.digest {
        let message = format!("object {} is damaged", file.digest.short());
        return Err(io::Error::other(message));
    }
    Ok(())
}
