//! Flat arrays: on disk they are written once from front to back, then memory-mapped.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::marker::PhantomData;
use std::ops::Deref;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use bytemuck::Pod;
use climb_contract::count as counted;
use memmap2::Mmap;

/// A read-only array of `T`, memory-mapped or about to be written; derefs to a slice.
pub struct Flat<T>(Elements<T>);

enum Elements<T> {
    Mapped(Mmap),
    Held(Vec<T>),
}

impl<T: Pod> Flat<T> {
    pub fn open(path: &Path) -> anyhow::Result<Flat<T>> {
        let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
        let bytes = file.metadata()?.len() as usize;
        ensure!(
            bytes.is_multiple_of(size_of::<T>()),
            "{} holds {}, not a multiple of {}",
            path.display(),
            counted(bytes, "byte"),
            size_of::<T>()
        );
        // An empty file cannot be mapped.
        if bytes == 0 {
            return Ok(Vec::new().into());
        }
        // SAFETY: artifacts are read-only files that nothing changes once they are in the cache.
        Ok(Flat(Elements::Mapped(unsafe { Mmap::map(&file)? })))
    }
}

impl<T> From<Vec<T>> for Flat<T> {
    fn from(elements: Vec<T>) -> Flat<T> {
        Flat(Elements::Held(elements))
    }
}

impl<T: Pod> Deref for Flat<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        match &self.0 {
            Elements::Mapped(map) => bytemuck::cast_slice(map),
            Elements::Held(elements) => elements,
        }
    }
}

/// Whether these are offsets into an array of `len` elements: from somewhere, ever forward, to its
/// end. What passes can be sliced by without a look.
pub fn are_offsets(offsets: &[u64], len: usize) -> bool {
    offsets.last() == Some(&(len as u64)) && offsets.is_sorted()
}

/// Writes an array piece by piece.
pub struct FlatWriter<T> {
    out: BufWriter<File>,
    path: PathBuf,
    len: u64,
    _element: PhantomData<T>,
}

impl<T: Pod> FlatWriter<T> {
    pub fn create(path: &Path) -> anyhow::Result<FlatWriter<T>> {
        let file =
            File::create(path).with_context(|| format!("cannot create {}", path.display()))?;
        Ok(FlatWriter {
            out: BufWriter::with_capacity(1 << 20, file),
            path: path.to_path_buf(),
            len: 0,
            _element: PhantomData,
        })
    }

    pub fn push(&mut self, values: &[T]) -> anyhow::Result<()> {
        self.out
            .write_all(bytemuck::cast_slice(values))
            .with_context(|| format!("cannot write {}", self.path.display()))?;
        self.len += values.len() as u64;
        Ok(())
    }

    /// Elements written so far.
    pub fn len(&self) -> u64 {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub fn finish(mut self) -> anyhow::Result<u64> {
        self.out
            .flush()
            .with_context(|| format!("cannot write {}", self.path.display()))?;
        Ok(self.len)
    }
}

/// Writes a whole array.
pub fn write<T: Pod>(path: &Path, values: &[T]) -> anyhow::Result<()> {
    let mut out = FlatWriter::create(path)?;
    out.push(values)?;
    out.finish()?;
    Ok(())
}
