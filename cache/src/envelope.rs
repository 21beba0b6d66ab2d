//! A record as a file.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};

use crate::{Artifact, Digest, Record};

/// A record as a file: with the bytes of its small outputs, so that nothing is in the index alone.
#[derive(Serialize, Deserialize)]
pub(crate) struct Envelope {
    #[serde(rename = "climb-record")]
    pub format: u32,
    pub record: Record,
    /// Digest -> base64.
    pub inline: BTreeMap<Digest, String>,
}

impl Envelope {
    /// The bytes of a small output, if they are there and right.
    pub fn bytes(&self, digest: &Digest) -> Option<Vec<u8>> {
        let bytes = BASE64.decode(self.inline.get(digest)?).ok()?;
        (Digest::of(&bytes) == *digest).then_some(bytes)
    }
}

/// A record file: the BLAKE3 of the JSON in hex, a newline, the JSON.
pub(crate) fn checksummed(json: &[u8]) -> Vec<u8> {
    let mut bytes = Digest::of(json).hex().into_bytes();
    bytes.push(b'\n');
    bytes.extend_from_slice(json);
    bytes
}

/// The envelope in a record file; `None` when it does not check.
pub(crate) fn read_envelope(path: &Path) -> Option<Envelope> {
    open_envelope(&fs::read(path).ok()?)
}

/// The envelope in a record file's bytes; `None` when they do not check.
pub(crate) fn open_envelope(bytes: &[u8]) -> Option<Envelope> {
    let (digest, json) = (bytes.get(..64)?, bytes.get(65..)?);
    if Digest::of(json).hex().as_bytes() != digest {
        return None;
    }
    let envelope: Envelope = serde_json::from_slice(json).ok()?;
    let record = &envelope.record;
    let good = envelope.format == 1
        && record.ingredients.key() == record.key
        && record.outputs.values().all(Artifact::is_confined);
    good.then_some(envelope)
}
