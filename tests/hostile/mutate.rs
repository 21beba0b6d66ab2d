//! Seeded damage to bytes that were good.

use serde_json::Value;

use super::random::Random;

/// Numbers that somebody may have believed.
const NUMBERS: [&str; 10] = [
    "0",
    "-1",
    "1",
    "4096",
    "100000000",
    "2147483648",
    "9223372036854775807",
    "18446744073709551615",
    "1e308",
    "0.0000001",
];

/// `whole` with one to five changes: bytes, cuts, repeats, pieces of `other`, `words`, numbers.
pub fn mutated(whole: &[u8], other: &[u8], words: &[&str], random: &mut Random) -> Vec<u8> {
    let mut bytes = whole.to_vec();
    for _ in 0..=random.below(5) {
        change(&mut bytes, other, words, random);
    }
    bytes
}

fn change(bytes: &mut Vec<u8>, other: &[u8], words: &[&str], random: &mut Random) {
    let at = random.below(bytes.len() as u64 + 1) as usize;
    match random.below(9) {
        0 => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << random.below(8);
            }
        }
        1 => {
            let byte = [0, 1, 0x7f, 0x80, 0xff, b'\n', b'"'][random.below(7) as usize];
            if let Some(there) = bytes.get_mut(at) {
                *there = byte;
            }
        }
        2 => bytes.truncate(at),
        3 => {
            let piece = stretch(bytes, random);
            bytes.drain(piece);
        }
        4 => {
            let piece = bytes[stretch(bytes, random)].to_vec();
            insert(bytes, at, &piece);
        }
        5 => {
            let piece = &other[stretch(other, random)];
            insert(bytes, at, piece);
        }
        6 => number(bytes, at, random),
        7 if !words.is_empty() => {
            let word = words[random.below(words.len() as u64) as usize];
            let times = [1, 1, 1, 3, 100, 3000][random.below(6) as usize];
            insert(bytes, at, word.repeat(times).as_bytes());
        }
        _ => line_twice(bytes, at),
    }
}

fn insert(bytes: &mut Vec<u8>, at: usize, piece: &[u8]) {
    bytes.splice(at..at, piece.iter().copied());
}

/// A stretch of at most a few hundred bytes.
fn stretch(bytes: &[u8], random: &mut Random) -> std::ops::Range<usize> {
    let start = random.below(bytes.len() as u64 + 1) as usize;
    let most = [4, 40, 400][random.below(3) as usize];
    let len = 1 + random.below(most) as usize;
    start..(start + len).min(bytes.len())
}

/// Puts another number in the place of the next one.
fn number(bytes: &mut Vec<u8>, at: usize, random: &mut Random) {
    let Some(start) = bytes[at..].iter().position(u8::is_ascii_digit) else {
        return;
    };
    let start = at + start;
    let digits = bytes[start..].iter().take_while(|b| b.is_ascii_digit());
    let end = start + digits.count();
    let number = NUMBERS[random.below(NUMBERS.len() as u64) as usize];
    bytes.splice(start..end, number.bytes());
}

fn line_twice(bytes: &mut Vec<u8>, at: usize) {
    let start = bytes[..at].iter().rposition(|b| *b == b'\n');
    let start = start.map_or(0, |i| i + 1);
    let end = bytes[at..].iter().position(|b| *b == b'\n');
    let end = end.map_or(bytes.len(), |i| at + i + 1);
    let line = bytes[start..end].to_vec();
    insert(bytes, end, &line);
}

/// JSON that parses, with one to three values or keys of another kind.
pub fn mutated_json(whole: &[u8], random: &mut Random) -> Vec<u8> {
    let Ok(mut value) = serde_json::from_slice::<Value>(whole) else {
        return whole.to_vec();
    };
    for _ in 0..=random.below(3) {
        let nodes = count(&value) as u64;
        change_node(&mut value, &mut random.below(nodes), random);
    }
    value.to_string().into_bytes()
}

fn count(value: &Value) -> usize {
    1 + match value {
        Value::Array(items) => items.iter().map(count).sum(),
        Value::Object(fields) => fields.values().map(count).sum(),
        _ => 0,
    }
}

/// Changes the node that is `left` nodes on; true once it is done.
fn change_node(value: &mut Value, left: &mut u64, random: &mut Random) -> bool {
    if *left == 0 {
        odd(value, random);
        return true;
    }
    *left -= 1;
    match value {
        Value::Array(items) => items.iter_mut().any(|item| change_node(item, left, random)),
        Value::Object(fields) => fields
            .values_mut()
            .any(|field| change_node(field, left, random)),
        _ => false,
    }
}

fn odd(value: &mut Value, random: &mut Random) {
    match (random.below(4), &mut *value) {
        (0, Value::Object(fields)) => {
            let at = random.below(fields.len().max(1) as u64) as usize;
            if let Some(name) = fields.keys().nth(at).cloned() {
                let field = fields.remove(&name).unwrap_or_default();
                if random.below(2) == 0 {
                    fields.insert(format!("../{name}"), field);
                }
            }
            return;
        }
        (0, Value::Array(items)) => {
            items.truncate(random.below(3) as usize);
            return;
        }
        (0, Value::String(text)) => {
            text.push_str(["\u{0}", "/../x", "é", " "][random.below(4) as usize]);
            return;
        }
        (0 | 1, Value::Number(_)) => {
            let numbers = [0, 1, 2, 255, 1 << 31, 1 << 40, u64::MAX >> 1, u64::MAX];
            *value = numbers[random.below(8) as usize].into();
            return;
        }
        _ => {}
    }
    *value = match random.below(9) {
        0 => Value::Null,
        1 => Value::Bool(true),
        2 => (-1).into(),
        3 => 1e300.into(),
        4 => 0.5.into(),
        5 => "".into(),
        6 => "x".repeat(3000).into(),
        7 => Value::Array(vec![0.into(); 3]),
        _ => Value::Object(Default::default()),
    };
}
