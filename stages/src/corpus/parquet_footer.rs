//! A look at a Parquet footer before the parquet crate reads it. That makes room for as many items as
//! a list says it has, by the numbers of the fields alone, and follows a schema however deep: so a
//! file of a few bytes could end the process. Here each list must fit into the bytes that follow, and
//! each field be of its type. (Thrift's compact protocol; parquet.thrift of the Parquet format.)

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};

use anyhow::{Context, ensure};

/// Groups within each other.
const MAX_DEPTH: usize = 64;

const TRUE: u8 = 1;
const FALSE: u8 = 2;
const BYTE: u8 = 3;
const I16: u8 = 4;
const I32: u8 = 5;
const I64: u8 = 6;
const DOUBLE: u8 = 7;
const BINARY: u8 = 8;
const LIST: u8 = 9;
const STRUCT: u8 = 12;

/// The structs of a footer.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    FileMetaData,
    SchemaElement,
    RowGroup,
    ColumnChunk,
    ColumnMetaData,
    Statistics,
    SizeStatistics,
    /// Nothing is read into a list from these.
    Other,
}

/// The wire type of a field, and of a list's items; `None` for fields that are passed over.
fn field(kind: Kind, id: i16) -> Option<(u8, u8, Kind)> {
    use Kind::*;
    let plain = |ty| Some((ty, 0, Other));
    let list = |items| Some((LIST, items, Other));
    match (kind, id) {
        (FileMetaData, 2) => Some((LIST, STRUCT, SchemaElement)),
        (FileMetaData, 4) => Some((LIST, STRUCT, RowGroup)),
        (FileMetaData, 5 | 7) => list(STRUCT),
        (FileMetaData, 1) | (SchemaElement, 1..=3 | 5..=9) | (ColumnMetaData, 1 | 4 | 15) => {
            plain(I32)
        }
        (FileMetaData, 6 | 9) | (SchemaElement, 4) | (ColumnChunk, 1 | 9) => plain(BINARY),
        (FileMetaData, 8) | (SchemaElement, 10) | (ColumnChunk, 8) | (ColumnMetaData, 17) => {
            plain(STRUCT)
        }
        (RowGroup, 1) => Some((LIST, STRUCT, ColumnChunk)),
        (RowGroup, 4) | (ColumnMetaData, 8 | 13) => list(STRUCT),
        (RowGroup, 7) => plain(I16),
        (ColumnChunk, 3) => Some((STRUCT, 0, ColumnMetaData)),
        (ColumnChunk, 5 | 7) => plain(I32),
        (ColumnMetaData, 2) => list(I32),
        (ColumnMetaData, 3) => list(BINARY),
        (ColumnMetaData, 12) => Some((STRUCT, 0, Statistics)),
        (ColumnMetaData, 16) => Some((STRUCT, 0, SizeStatistics)),
        (Statistics, 1 | 2 | 5 | 6) => plain(BINARY),
        (Statistics, 7 | 8) => plain(TRUE),
        (SizeStatistics, 2 | 3) => list(I64),
        (FileMetaData, 3)
        | (RowGroup, 2 | 3 | 5 | 6)
        | (ColumnChunk, 2 | 4 | 6)
        | (ColumnMetaData, 5..=7 | 9..=11 | 14)
        | (Statistics, 3 | 4)
        | (SizeStatistics, 1) => plain(I64),
        _ => None,
    }
}

/// Reads the footer and goes back to the file's beginning.
pub fn check(file: &mut File) -> anyhow::Result<()> {
    let len = file.metadata()?.len();
    ensure!(len >= 12, "it is too short");
    let mut end = [0; 4];
    file.seek(SeekFrom::End(-8))?;
    file.read_exact(&mut end)?;
    let footer = u64::from(u32::from_le_bytes(end));
    ensure!(footer + 12 <= len, "its footer is longer than the file");
    file.seek(SeekFrom::End(-8 - footer as i64))?;
    let mut bytes = vec![0; footer as usize];
    file.read_exact(&mut bytes)?;
    file.rewind()?;
    check_bytes(&bytes)
}

fn check_bytes(bytes: &[u8]) -> anyhow::Result<()> {
    let mut walk = Walk {
        rest: bytes,
        children: Vec::new(),
    };
    walk.fields(Kind::FileMetaData, 0)
        .context("its footer makes no sense")?;
    ensure!(
        walk.schema_depth() <= MAX_DEPTH,
        "its columns are nested too deeply"
    );
    Ok(())
}

struct Walk<'a> {
    rest: &'a [u8],
    /// Of each element of the schema, which is a tree in the order of its nodes.
    children: Vec<u64>,
}

/// `None` at the first thing that does not fit.
impl Walk<'_> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*first)
    }

    fn number(&mut self) -> Option<u64> {
        let mut number = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    fn skip(&mut self, bytes: u64) -> Option<()> {
        self.rest = self.rest.get(usize::try_from(bytes).ok()?..)?;
        Some(())
    }

    fn fields(&mut self, kind: Kind, depth: usize) -> Option<()> {
        let mut id = 0i16;
        let mut children = 0;
        loop {
            let head = self.byte()?;
            let ty = head & 0x0f;
            if ty == 0 {
                break;
            }
            id = match head >> 4 {
                0 => {
                    let zigzag = self.number()?;
                    i16::try_from((zigzag >> 1) as i64 ^ -((zigzag & 1) as i64)).ok()?
                }
                delta => id.checked_add(i16::from(delta))?,
            };
            let (wanted, items, inner) = field(kind, id).unwrap_or((ty, 0, Kind::Other));
            let same = wanted == ty || (wanted == TRUE && ty == FALSE);
            if !same || depth > MAX_DEPTH {
                return None;
            }
            match ty {
                LIST => self.list(items, inner, depth + 1)?,
                I32 if kind == Kind::SchemaElement && id == 5 => children = self.number()? >> 1,
                _ => self.value(ty, inner, depth + 1)?,
            }
        }
        if kind == Kind::SchemaElement {
            self.children.push(children);
        }
        Some(())
    }

    /// `items`: their type, 0 for any.
    fn list(&mut self, items: u8, inner: Kind, depth: usize) -> Option<()> {
        let head = self.byte()?;
        // Some writers give an empty list no type.
        if head == 0 {
            return Some(());
        }
        let count = match head >> 4 {
            15 => self.number()?,
            count => u64::from(count),
        };
        let ty = head & 0x0f;
        let fits = (items == 0 || items == ty || count == 0) && ![TRUE, FALSE].contains(&ty);
        // Every item is at least a byte.
        if !fits || count > self.rest.len() as u64 || depth > MAX_DEPTH {
            return None;
        }
        for _ in 0..count {
            match ty {
                LIST => self.list(0, Kind::Other, depth + 1)?,
                _ => self.value(ty, inner, depth + 1)?,
            }
        }
        Some(())
    }

    fn value(&mut self, ty: u8, inner: Kind, depth: usize) -> Option<()> {
        match ty {
            TRUE | FALSE => Some(()),
            BYTE => self.skip(1),
            I16 | I32 | I64 => self.number().map(|_| ()),
            DOUBLE => self.skip(8),
            BINARY => {
                let len = self.number()?;
                self.skip(len)
            }
            STRUCT => self.fields(inner, depth),
            _ => None,
        }
    }

    /// Levels of the schema's tree.
    fn schema_depth(&self) -> usize {
        let mut open: Vec<u64> = Vec::new();
        let mut deepest = 0;
        for children in &self.children {
            while open.last() == Some(&0) {
                open.pop();
            }
            if let Some(left) = open.last_mut() {
                *left -= 1;
            }
            open.push(*children);
            deepest = deepest.max(open.len());
        }
        deepest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(bytes: &[u8]) -> String {
        format!("{:#}", check_bytes(bytes).unwrap_err())
    }

    #[test]
    fn lists_longer_than_the_file_are_refused() {
        // Field 2, a list of 2^31 - 1 structs.
        let schema = [0x29, 0xfc, 0xff, 0xff, 0xff, 0xff, 0x07, 0];
        assert!(refused(&schema).contains("makes no sense"));
        // Field 4 as a number whose bytes would be the head of such a list.
        let groups = [0x46, 0xfc, 0xff, 0xff, 0xff, 0xff, 0x07, 0];
        assert!(refused(&groups).contains("makes no sense"));
        // A number without end, a binary longer than the rest.
        assert!(refused(&[0x15, 0xff, 0xff]).contains("makes no sense"));
        assert!(refused(&[0x68, 0xff, 0x7f, 0]).contains("makes no sense"));
        assert!(check_bytes(&[0]).is_ok());
    }

    #[test]
    fn a_deep_schema_is_refused() {
        // Groups of one group each: field 5 (I32), zigzag of 1, and the end.
        let footer = |levels: usize| {
            let mut bytes = vec![
                0x29,
                0xfc,
                (levels & 0x7f) as u8 | 0x80,
                (levels >> 7) as u8,
            ];
            bytes.extend([0x55, 2, 0].repeat(levels));
            bytes.push(0);
            bytes
        };
        assert!(check_bytes(&footer(60)).is_ok());
        assert!(refused(&footer(9000)).contains("nested too deeply"));
    }
}
