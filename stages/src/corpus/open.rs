//! Files unpacked and in UTF-8, by their content: what a name's ending says may be wrong.

use std::fs::File;
use std::io::{BufRead, BufReader, Cursor, Read, Seek};
use std::path::Path;

use anyhow::Context;
use climb_contract::encoding::{self, Encoding};

/// Read at once.
const BUFFER: usize = 1 << 18;

/// Memory that a file may ask for to be unpacked; `xz -9` takes 65 MiB.
const XZ_KIB: u32 = 2 << 20;

/// How a file is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    Plain,
    Gzip,
    Zstd,
    Xz,
    Bzip2,
    Lz4,
}

impl Packing {
    /// By the bytes that a file begins with.
    pub fn of(start: &[u8]) -> Packing {
        match start {
            [0x1f, 0x8b, ..] => Packing::Gzip,
            // A frame, or one to be skipped as parallel packers put first.
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Packing::Zstd,
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Packing::Xz,
            [b'B', b'Z', b'h', b'1'..=b'9', 0x31, 0x41, 0x59, 0x26, ..]
            | [b'B', b'Z', b'h', b'1'..=b'9', 0x17, 0x72, 0x45, 0x38, ..] => Packing::Bzip2,
            [0x04, 0x22, 0x4d, 0x18, ..] => Packing::Lz4,
            _ => Packing::Plain,
        }
    }
}

/// The first bytes of a file, as they are on disk.
pub fn start(path: &Path, bytes: usize) -> anyhow::Result<Vec<u8>> {
    let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    first(file, bytes).with_context(|| format!("cannot read {}", path.display()))
}

fn first(reader: impl Read, bytes: usize) -> std::io::Result<Vec<u8>> {
    let mut start = Vec::with_capacity(bytes);
    reader.take(bytes as u64).read_to_end(&mut start)?;
    Ok(start)
}

/// A file, unpacked.
pub fn open(path: &Path) -> anyhow::Result<Box<dyn Read>> {
    let mut file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    let start = first(&file, 8).and_then(|start| file.rewind().map(|()| start));
    let start = start.with_context(|| format!("cannot read {}", path.display()))?;
    Ok(match Packing::of(&start) {
        Packing::Plain => Box::new(file),
        Packing::Gzip => Box::new(flate2::read::MultiGzDecoder::new(file)),
        Packing::Zstd => Box::new(zstd::stream::read::Decoder::new(file)?),
        Packing::Xz => Box::new(lzma_rust2::XzReader::new_mem_limit(
            BufReader::new(file),
            true,
            XZ_KIB,
        )),
        Packing::Bzip2 => Box::new(bzip2::read::MultiBzDecoder::new(file)),
        Packing::Lz4 => Box::new(Lz4Frames(lz4_flex::frame::FrameDecoder::new(
            BufReader::new(file),
        ))),
    })
}

/// A file's text for reading line by line: unpacked, without a byte-order mark, in UTF-8 where a mark
/// says how it is written.
pub fn open_text(path: &Path) -> anyhow::Result<Box<dyn BufRead>> {
    let mut reader = open(path)?;
    let start = first(&mut reader, 4).with_context(|| format!("cannot read {}", path.display()))?;
    let (encoding, mark) = encoding::mark(&start);
    let rest = Cursor::new(start[mark..].to_vec()).chain(reader);
    Ok(match encoding {
        Encoding::Utf8 => Box::new(BufReader::with_capacity(BUFFER, rest)),
        _ => Box::new(BufReader::with_capacity(
            BUFFER,
            Recoded::new(rest, encoding),
        )),
    })
}

/// Frames one after another, as of files put together.
struct Lz4Frames(lz4_flex::frame::FrameDecoder<BufReader<File>>);

impl Read for Lz4Frames {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        loop {
            let read = self.0.read(buffer)?;
            if read > 0 || buffer.is_empty() || self.0.get_mut().fill_buf()?.is_empty() {
                return Ok(read);
            }
        }
    }
}

/// UTF-16 or UTF-32 as UTF-8. What makes no sense becomes U+FFFD.
struct Recoded<R> {
    inner: R,
    big_endian: bool,
    /// Bytes of a unit.
    width: usize,
    /// Read and not decoded yet: less than a character.
    pending: Vec<u8>,
    /// Decoded, and from where it is not handed out yet.
    text: String,
    at: usize,
    ended: bool,
}

impl<R: Read> Recoded<R> {
    fn new(inner: R, encoding: Encoding) -> Recoded<R> {
        let (width, big_endian) = match encoding {
            Encoding::Utf8 => (1, false),
            Encoding::Utf16 { big_endian } => (2, big_endian),
            Encoding::Utf32 { big_endian } => (4, big_endian),
        };
        Recoded {
            inner,
            big_endian,
            width,
            pending: Vec::new(),
            text: String::new(),
            at: 0,
            ended: false,
        }
    }

    fn fill(&mut self) -> std::io::Result<()> {
        (self.text, self.at) = (String::new(), 0);
        while self.text.is_empty() && !self.ended {
            let mut bytes = vec![0; BUFFER];
            let read = self.inner.read(&mut bytes)?;
            self.ended = read == 0;
            self.pending.extend_from_slice(&bytes[..read]);
            self.decode();
        }
        Ok(())
    }

    /// Decodes what is pending, but for a unit whose end is not there yet.
    fn decode(&mut self) {
        let units = self.pending.chunks_exact(self.width);
        let mut over = units.remainder().to_vec();
        let mut units: Vec<u32> = units.map(|unit| self.unit(unit)).collect();
        let is_first_half = |unit: &u32| self.width == 2 && (0xd800..0xdc00).contains(unit);
        if !self.ended && units.last().is_some_and(is_first_half) {
            units.pop();
            let half = self.pending.len() - over.len() - self.width;
            over = self.pending[half..].to_vec();
        } else if self.ended && !over.is_empty() {
            over.clear();
            units.push(u32::MAX);
        }
        self.pending = over;
        let none = char::REPLACEMENT_CHARACTER;
        match self.width {
            2 => {
                let units = units
                    .into_iter()
                    .map(|u| u16::try_from(u).unwrap_or(0xfffd));
                let chars = char::decode_utf16(units).map(|c| c.unwrap_or(none));
                self.text.extend(chars);
            }
            _ => self
                .text
                .extend(units.into_iter().map(|u| char::from_u32(u).unwrap_or(none))),
        }
    }

    fn unit(&self, bytes: &[u8]) -> u32 {
        let fold = |unit: u32, byte: &u8| unit << 8 | u32::from(*byte);
        match self.big_endian {
            true => bytes.iter().fold(0, fold),
            false => bytes.iter().rev().fold(0, fold),
        }
    }
}

impl<R: Read> Read for Recoded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.at == self.text.len() {
            self.fill()?;
        }
        let left = &self.text.as_bytes()[self.at..];
        let count = left.len().min(buffer.len());
        buffer[..count].copy_from_slice(&left[..count]);
        self.at += count;
        Ok(count)
    }
}

/// What a file is that begins so, where people should rather convert it than wonder.
pub fn foreign(start: &[u8]) -> Option<&'static str> {
    const KNOWN: [(&[u8], &str); 9] = [
        (b"PK\x03\x04", "a zip archive"),
        (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
        (b"ARROW1", "an Arrow file"),
        (b"ORC", "an ORC file"),
        (b"Obj\x01", "an Avro file"),
        (b"SQLite format 3\0", "an SQLite database"),
        (b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
        (b"\x1f\x9d", "a file packed by compress"),
        (b"%PDF-", "a PDF"),
    ];
    if start.get(257..262) == Some(b"ustar") {
        return Some("a tar archive");
    }
    let known = KNOWN.iter().find(|(magic, _)| start.starts_with(magic));
    known.map(|(_, what)| *what)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn packed(text: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), Default::default());
        gzip.write_all(text).unwrap();
        let mut bzip2 = bzip2::write::BzEncoder::new(Vec::new(), Default::default());
        bzip2.write_all(text).unwrap();
        let mut lz4 = lz4_flex::frame::FrameEncoder::new(Vec::new());
        lz4.write_all(text).unwrap();
        let mut xz =
            lzma_rust2::XzWriter::new(Vec::new(), lzma_rust2::XzOptions::with_preset(1)).unwrap();
        xz.write_all(text).unwrap();
        vec![
            ("plain", text.to_vec()),
            ("gzip", gzip.finish().unwrap()),
            ("bzip2", bzip2.finish().unwrap()),
            ("lz4", lz4.finish().unwrap()),
            ("xz", xz.finish().unwrap()),
            ("zstd", zstd::encode_all(text, 1).unwrap()),
        ]
    }

    fn read(bytes: &[u8]) -> String {
        let dir = tempfile::tempdir().unwrap();
        // A name that says something else.
        let path = dir.path().join("x.gz");
        std::fs::write(&path, bytes).unwrap();
        let mut text = String::new();
        open_text(&path).unwrap().read_to_string(&mut text).unwrap();
        text
    }

    #[test]
    fn what_is_packed_is_unpacked_whatever_it_is_called() {
        for (name, bytes) in packed("é, once and again\n".as_bytes()) {
            assert_eq!(read(&bytes), "é, once and again\n", "{name}");
            // Files put together by `cat`.
            assert_eq!(read(&[&bytes[..], &bytes].concat()).len(), 38, "{name}");
        }
        assert_eq!(read(b""), "");
        // An empty frame, then one to be skipped.
        for (name, bytes) in packed(b"") {
            assert_eq!(read(&bytes), "", "{name}");
        }
        let skipped = [
            b"\x50\x2a\x4d\x18\x02\0\0\0ab".to_vec(),
            zstd::encode_all(&b"c"[..], 1).unwrap(),
        ];
        assert_eq!(read(&skipped.concat()), "c");
    }

    #[test]
    fn half_a_packed_file_is_an_error() {
        let text = "some words and more ".repeat(500);
        let dir = tempfile::tempdir().unwrap();
        for (name, bytes) in packed(text.as_bytes()).into_iter().skip(1) {
            let path = dir.path().join(name);
            std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
            let mut read = String::new();
            let read = open_text(&path).and_then(|mut r| Ok(r.read_to_string(&mut read)?));
            assert!(read.is_err(), "{name}");
        }
    }

    #[test]
    fn a_mark_says_how_the_text_is_written() {
        let text = "{\"é\": \"\u{1f600}\"}\n".repeat(BUFFER / 8);
        let units = |swap: bool| -> Vec<u8> {
            let unit = |u: u16| {
                if swap {
                    u.to_be_bytes()
                } else {
                    u.to_le_bytes()
                }
            };
            text.encode_utf16().flat_map(unit).collect()
        };
        let wide: Vec<u8> = text
            .chars()
            .flat_map(|c| u32::from(c).to_le_bytes())
            .collect();
        assert!(read(&[b"\xef\xbb\xbf", text.as_bytes()].concat()) == text);
        assert!(read(&[&b"\xff\xfe"[..], &units(false)].concat()) == text);
        assert!(read(&[&b"\xfe\xff"[..], &units(true)].concat()) == text);
        // Half a pair at the end of a buffer.
        assert!(read(&[&b"\xfe\xff\0a"[..], &units(true)].concat())[1..] == text);
        assert!(read(&[&b"\xff\xfe\0\0"[..], &wide].concat()) == text);
        let zipped = zstd::encode_all(&[&b"\xff\xfe"[..], &units(false)].concat()[..], 1).unwrap();
        assert!(read(&zipped) == text);
        assert_eq!(read(b"\xff\xfea\0\0\xd8"), "a\u{fffd}");
        assert_eq!(read(b"\xff\xfea\0b"), "a\u{fffd}");
    }
}
