//! Paths in JSON: text where they are UTF-8, `{"bytes": […]}` where they are not.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Form {
    Text(String),
    Bytes { bytes: Vec<u8> },
}

pub fn serialize<S: Serializer>(path: &impl AsRef<Path>, serializer: S) -> Result<S::Ok, S::Error> {
    let path = path.as_ref();
    let form = match path.to_str() {
        Some(text) => Form::Text(text.to_string()),
        None => Form::Bytes {
            bytes: path.as_os_str().as_bytes().to_vec(),
        },
    };
    form.serialize(serializer)
}

pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PathBuf, D::Error> {
    Ok(match Form::deserialize(deserializer)? {
        Form::Text(text) => PathBuf::from(text),
        Form::Bytes { bytes } => PathBuf::from(OsString::from_vec(bytes)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize, Deserialize)]
    struct One {
        #[serde(with = "super")]
        path: PathBuf,
    }

    #[test]
    fn every_path_comes_back_and_text_stays_text() {
        for bytes in [&b"/a/caf\xe9.txt"[..], b"/a/caf\xe8.txt", b"/a/b", b""] {
            let path = PathBuf::from(OsString::from_vec(bytes.to_vec()));
            let json = serde_json::to_string(&One { path: path.clone() }).unwrap();
            assert_eq!(serde_json::from_str::<One>(&json).unwrap().path, path);
        }
        let path = PathBuf::from("/a/b");
        let json = serde_json::to_string(&One { path }).unwrap();
        assert_eq!(json, r#"{"path":"/a/b"}"#);
    }
}
