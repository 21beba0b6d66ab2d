//! JSON values one after another, or in one list, a value at a time: a file of a whole list may be of
//! any size.

use std::io::{BufRead, ErrorKind};

/// Values are found by their brackets alone; whether each is JSON is for others to say.
pub struct Values<R> {
    reader: R,
    /// Longer values are no records.
    limit: u64,
    /// Inside of a list, of which this is the next value's number.
    place: Place,
}

#[derive(Clone, Copy, PartialEq)]
enum Place {
    Start,
    /// Values one after another.
    Apart,
    /// Items of a list.
    InList,
    /// Behind the list.
    End,
}

/// What there is instead of a value.
#[derive(Debug)]
pub enum Wrong {
    TooLong,
    /// The file ends inside of the list, or goes on behind it.
    List(&'static str),
    Io(std::io::Error),
}

impl<R: BufRead> Values<R> {
    pub fn new(reader: R, limit: u64) -> Values<R> {
        Values {
            reader,
            limit,
            place: Place::Start,
        }
    }

    fn read(&mut self) -> Result<Option<Vec<u8>>, Wrong> {
        loop {
            let Some(byte) = self.peek()? else {
                return match self.place {
                    Place::InList => {
                        self.place = Place::End;
                        Err(Wrong::List("the list is not closed: the file is cut off"))
                    }
                    _ => Ok(None),
                };
            };
            match (byte, self.place) {
                (b'[', Place::Start) => self.place = Place::InList,
                (b',', Place::InList) => {}
                (b']', Place::InList) => self.place = Place::End,
                (byte, _) if byte.is_ascii_whitespace() => {}
                (_, Place::End) => {
                    while self.peek()?.is_some() {
                        self.skip_buffer();
                    }
                    return Err(Wrong::List("something follows the list"));
                }
                _ => {
                    if self.place == Place::Start {
                        self.place = Place::Apart;
                    }
                    return self.value().map(Some);
                }
            }
            self.reader.consume(1);
        }
    }

    fn peek(&mut self) -> Result<Option<u8>, Wrong> {
        loop {
            match self.reader.fill_buf() {
                Ok(bytes) => return Ok(bytes.first().copied()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(Wrong::Io(error)),
            }
        }
    }

    fn skip_buffer(&mut self) {
        let length = self.reader.fill_buf().map_or(0, <[u8]>::len);
        self.reader.consume(length);
    }

    /// Reads to the end of the value that begins here.
    fn value(&mut self) -> Result<Vec<u8>, Wrong> {
        let mut value = Vec::new();
        let mut scan = Scan::default();
        let mut too_long = false;
        while self.peek()?.is_some() {
            let bytes = self.reader.fill_buf().map_err(Wrong::Io)?;
            let (length, ended) = scan.over(bytes);
            too_long |= value.len() as u64 + length as u64 > self.limit;
            if too_long {
                value = Vec::new();
            } else {
                value.extend_from_slice(&bytes[..length]);
            }
            self.reader.consume(length);
            if ended {
                break;
            }
        }
        match too_long {
            true => Err(Wrong::TooLong),
            false => Ok(value),
        }
    }
}

/// The values' texts.
impl<R: BufRead> Iterator for Values<R> {
    type Item = Result<Vec<u8>, Wrong>;

    fn next(&mut self) -> Option<Self::Item> {
        self.read().transpose()
    }
}

/// Where in a value the bytes so far end.
#[derive(Default)]
struct Scan {
    depth: usize,
    in_string: bool,
    escaped: bool,
    begun: bool,
}

impl Scan {
    /// How many bytes belong to the value, and whether it ends with them.
    fn over(&mut self, bytes: &[u8]) -> (usize, bool) {
        for (at, &byte) in bytes.iter().enumerate() {
            if self.in_string {
                match byte {
                    _ if self.escaped => self.escaped = false,
                    b'\\' => self.escaped = true,
                    b'"' => {
                        self.in_string = false;
                        if self.depth == 0 {
                            return (at + 1, true);
                        }
                    }
                    _ => {}
                }
                continue;
            }
            match byte {
                // What ends a number or a word.
                b',' | b']' | b'}' if self.depth == 0 && self.begun => return (at, true),
                byte if self.depth == 0 && self.begun && byte.is_ascii_whitespace() => {
                    return (at, true);
                }
                b'"' if self.depth == 0 && self.begun => return (at, true),
                b'"' => self.in_string = true,
                b'{' | b'[' if self.depth == 0 && self.begun => return (at, true),
                b'{' | b'[' => self.depth += 1,
                b'}' | b']' if self.depth > 0 => {
                    self.depth -= 1;
                    if self.depth == 0 {
                        return (at + 1, true);
                    }
                }
                _ => {}
            }
            self.begun = true;
        }
        (bytes.len(), false)
    }
}

#[cfg(test)]
mod tests {
    use std::io::BufReader;

    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    /// Each value, or `!` for what is none, with a small buffer.
    fn values(text: &str) -> Vec<String> {
        let values = Values::new(BufReader::with_capacity(3, text.as_bytes()), 40);
        let told = |value: Result<Vec<u8>, Wrong>| {
            value.map_or("!".into(), |value| String::from_utf8(value).unwrap())
        };
        values.map(told).collect()
    }

    #[test]
    fn lists_and_values_are_taken_apart() {
        let told: [(&str, &[&str]); 12] = [
            ("", &[]),
            (" [ ] ", &[]),
            (
                r#"[{"a": "]},\""}, 2, "x" ]"#,
                &[r#"{"a": "]},\""}"#, "2", r#""x""#],
            ),
            (
                "{\n \"a\": [1]\n}\n{}{}",
                &["{\n \"a\": [1]\n}", "{}", "{}"],
            ),
            ("[[1, 2], {}]", &["[1, 2]", "{}"]),
            ("[{}, {}", &["{}", "{}", "!"]),
            ("[{}, {", &["{}", "{", "!"]),
            ("[{}] {}", &["{}", "!"]),
            ("[{}]\n\n", &["{}"]),
            ("1 NaN\n\"a\"", &["1", "NaN", "\"a\""]),
            (
                "[{\"a\": \"0123456789012345678901234567890123456789\"}, 1]",
                &["!", "1"],
            ),
            ("}", &["}"]),
        ];
        for (text, expected) in told {
            assert_eq!(values(text), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn every_item_of_a_list_is_found(texts in prop::collection::vec("\\PC{0,6}", 0..6), pretty: bool) {
            let items: Vec<Value> = texts.iter().map(|t| serde_json::json!({"t": [t]})).collect();
            let text = match pretty {
                true => serde_json::to_string_pretty(&items).unwrap(),
                false => serde_json::to_string(&items).unwrap(),
            };
            let mut values = Values::new(text.as_bytes(), 1000);
            for item in items {
                let value = values.next().unwrap().unwrap();
                prop_assert_eq!(serde_json::from_slice::<Value>(&value).unwrap(), item);
            }
            prop_assert!(values.next().is_none());
        }

        #[test]
        fn any_text_comes_to_an_end(text in "[\\[\\]{}\",: a1\\\\\n]{0,40}") {
            prop_assert!(values(&text).len() <= text.len() + 1);
        }
    }
}
