//! A record as a file.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::{CacheError, tells_of_damage};
use crate::plain::{open_plain, read_plain};
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

/// Why there is no envelope to be had of a record file.
#[derive(Debug)]
pub(crate) enum Unread {
    Gone,
    /// The system did not let it be read, which says nothing about the record.
    Io(io::Error),
    /// Whole, and of a format that this climb does not know: not damaged.
    Unknown(UnknownFormat),
    Damaged,
}

/// What a record of another format says of itself.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct UnknownFormat {
    pub format: Option<String>,
    /// The climb that wrote it.
    pub climb: Option<String>,
}

/// The format that is written and read.
pub(crate) const FORMAT: u32 = 1;
/// How the JSON of every record file of this format begins.
const BEGINNING: &[u8] = br#"{"climb-record":1,"#;

/// The envelope in a record file.
pub(crate) fn read_envelope(path: &Path) -> Result<Envelope, Unread> {
    match read_plain(path) {
        Ok(bytes) => open_envelope(&bytes),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(Unread::Gone),
        Err(error) if tells_of_damage(&error) => Err(Unread::Damaged),
        Err(error) => Err(Unread::Io(error)),
    }
}

/// The envelope in a record file's bytes.
pub(crate) fn open_envelope(bytes: &[u8]) -> Result<Envelope, Unread> {
    let (Some(digest), Some(json)) = (bytes.get(..64), bytes.get(65..)) else {
        return Err(Unread::Damaged);
    };
    if Digest::of(json).hex().as_bytes() != digest {
        return Err(Unread::Damaged);
    }
    // From here on it is as somebody wrote it.
    let unknown = UnknownFormat::of(json);
    if unknown.format != Some(FORMAT.to_string()) {
        return Err(Unread::Unknown(unknown));
    }
    let Ok(envelope) = serde_json::from_slice::<Envelope>(json) else {
        return Err(Unread::Damaged);
    };
    let record = &envelope.record;
    let good = record.ingredients.key() == record.key
        && record.outputs.values().all(Artifact::is_confined);
    match good {
        true => Ok(envelope),
        false => Err(Unread::Damaged),
    }
}

/// Whether a record file begins as those of this format do; only its beginning is read.
pub(crate) fn is_of_this_format(path: &Path) -> bool {
    let mut beginning = [0; 65 + BEGINNING.len()];
    open_plain(path)
        .and_then(|mut file| file.read_exact(&mut beginning))
        .is_ok_and(|()| beginning.ends_with(BEGINNING))
}

impl UnknownFormat {
    fn of(json: &[u8]) -> UnknownFormat {
        if json.starts_with(BEGINNING) {
            // Of this format: there is no need to parse it twice.
            return UnknownFormat {
                format: Some(FORMAT.to_string()),
                climb: None,
            };
        }
        let value: Value = serde_json::from_slice(json).unwrap_or_default();
        let format = value.get("climb-record").map(Value::to_string);
        let climb = value.pointer("/record/provenance/climb");
        UnknownFormat {
            format,
            climb: climb.and_then(Value::as_str).map(String::from),
        }
    }

    /// The error that stops whoever would have to touch it.
    pub fn error(self, what: String, path: &Path) -> CacheError {
        CacheError::Newer {
            what,
            path: path.to_path_buf(),
            format: self.format,
            climb: self.climb,
            known: FORMAT,
        }
    }
}
