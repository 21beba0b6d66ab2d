//! Texts as editors and other systems save them: with a byte-order mark, or in UTF-16.

/// How a text that begins with a byte-order mark is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    Utf8,
    Utf16 { big_endian: bool },
    Utf32 { big_endian: bool },
}

/// What the first four bytes say, and how long the mark is.
pub fn mark(start: &[u8]) -> (Encoding, usize) {
    const MARKS: [(&[u8], Encoding); 5] = [
        (b"\xef\xbb\xbf", Encoding::Utf8),
        // Before UTF-16's, with which it begins.
        (b"\xff\xfe\0\0", Encoding::Utf32 { big_endian: false }),
        (b"\0\0\xfe\xff", Encoding::Utf32 { big_endian: true }),
        (b"\xff\xfe", Encoding::Utf16 { big_endian: false }),
        (b"\xfe\xff", Encoding::Utf16 { big_endian: true }),
    ];
    let known = MARKS.iter().find(|(mark, _)| start.starts_with(mark));
    known.map_or((Encoding::Utf8, 0), |(mark, encoding)| {
        (*encoding, mark.len())
    })
}

/// The text of these bytes: UTF-8, or what a byte-order mark says, which is no part of it.
pub fn decode(mut bytes: Vec<u8>) -> Option<String> {
    let (encoding, mark) = mark(&bytes);
    match encoding {
        Encoding::Utf8 => {
            bytes.drain(..mark);
            String::from_utf8(bytes).ok()
        }
        Encoding::Utf16 { big_endian } => {
            let units = units(&bytes[mark..], big_endian, u16::from_be_bytes)?;
            String::from_utf16(&units).ok()
        }
        Encoding::Utf32 { big_endian } => {
            let units = units(&bytes[mark..], big_endian, u32::from_be_bytes)?;
            units.into_iter().map(char::from_u32).collect()
        }
    }
}

/// Whole units of `N` bytes; `None` when something is left over.
fn units<T, const N: usize>(
    bytes: &[u8],
    big_endian: bool,
    from_be: fn([u8; N]) -> T,
) -> Option<Vec<T>> {
    let (units, rest) = bytes.as_chunks::<N>();
    let unit = |unit: &[u8; N]| {
        let mut unit = *unit;
        if !big_endian {
            unit.reverse();
        }
        from_be(unit)
    };
    rest.is_empty().then(|| units.iter().map(unit).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_says_how_a_text_is_written_and_is_no_part_of_it() {
        let text = "é \u{1f600}\n";
        let utf16: Vec<u16> = text.encode_utf16().collect();
        let utf32: Vec<u32> = text.chars().map(u32::from).collect();
        let written: [Vec<u8>; 6] = [
            text.into(),
            [b"\xef\xbb\xbf", text.as_bytes()].concat(),
            [
                &b"\xff\xfe"[..],
                &utf16
                    .iter()
                    .flat_map(|u| u.to_le_bytes())
                    .collect::<Vec<_>>(),
            ]
            .concat(),
            [
                &b"\xfe\xff"[..],
                &utf16
                    .iter()
                    .flat_map(|u| u.to_be_bytes())
                    .collect::<Vec<_>>(),
            ]
            .concat(),
            [
                &b"\xff\xfe\0\0"[..],
                &utf32
                    .iter()
                    .flat_map(|u| u.to_le_bytes())
                    .collect::<Vec<_>>(),
            ]
            .concat(),
            [
                &b"\0\0\xfe\xff"[..],
                &utf32
                    .iter()
                    .flat_map(|u| u.to_be_bytes())
                    .collect::<Vec<_>>(),
            ]
            .concat(),
        ];
        for bytes in written {
            assert_eq!(decode(bytes.clone()).as_deref(), Some(text), "{bytes:?}");
        }
        for bytes in [&b"caf\xe9"[..], b"\xff\xfex", b"\xff\xfe\0\xd8"] {
            assert_eq!(decode(bytes.to_vec()), None, "{bytes:?}");
        }
    }
}
