//! A pass over files that looks at records on all threads.

use climb_contract::context::TaskContext;
use climb_contract::stage::SourceFile;
use rayon::prelude::*;

use super::CorpusParams;
use super::records::{self, Record};

/// Records are looked at once there are so many, or so many bytes of them.
const RECORDS: usize = 4096;
const BYTES: usize = 16 << 20;

pub struct Scan<'a> {
    params: &'a CorpusParams,
    cx: &'a TaskContext,
    pool: rayon::ThreadPool,
    /// Files read so far, and in all passes.
    read: u64,
    reads: u64,
}

impl<'a> Scan<'a> {
    /// `passes`: over so many files, however often each is read.
    pub fn new(
        params: &'a CorpusParams,
        cx: &'a TaskContext,
        reads: usize,
    ) -> anyhow::Result<Self> {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(cx.threads.max(1));
        Ok(Scan {
            params,
            cx,
            pool: pool.build()?,
            read: 0,
            reads: reads as u64,
        })
    }

    /// Hands the records that can be used to `look`, on all threads, and what that finds to `each`, in
    /// the records' order. In memory is a batch of them, or one that is larger.
    pub fn pass<T: Send>(
        &mut self,
        files: &[&SourceFile],
        look: &(dyn Fn(&SourceFile, &Record) -> Option<T> + Sync),
        each: &mut dyn FnMut(T),
    ) -> anyhow::Result<()> {
        let mut batch: Vec<(&SourceFile, Record)> = Vec::new();
        let mut bytes = 0;
        for file in files {
            records::read(&file.path, &file.name, self.params, &mut |record| {
                let Ok(record) = record else { return Ok(()) };
                bytes += record.text.len() + 4 * record.tokens.len();
                batch.push((file, record));
                if batch.len() >= RECORDS || bytes >= BYTES {
                    self.look(&mut batch, look, each)?;
                    bytes = 0;
                }
                Ok(())
            })?;
            self.file_read();
        }
        self.look(&mut batch, look, each)
    }

    fn look<T: Send>(
        &self,
        batch: &mut Vec<(&SourceFile, Record)>,
        look: &(dyn Fn(&SourceFile, &Record) -> Option<T> + Sync),
        each: &mut dyn FnMut(T),
    ) -> anyhow::Result<()> {
        self.cx.check_cancelled()?;
        let looked = || batch.par_iter().map(|(file, record)| look(file, record));
        let found: Vec<Option<T>> = self.pool.install(|| looked().collect());
        found.into_iter().flatten().for_each(each);
        batch.clear();
        Ok(())
    }

    /// Does on all threads what needs no file.
    pub fn on_all_threads<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        self.pool.install(work)
    }

    /// Says how far all passes are.
    pub fn file_read(&mut self) {
        self.read += 1;
        if self.read.is_multiple_of(64) || self.read == self.reads {
            self.cx.progress(self.read, self.reads, "file reads");
        }
    }
}
