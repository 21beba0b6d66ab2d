//! A CSV file of numbers with a row for each run.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context, bail, ensure};
use climb_contract::count as counted;

/// So many names are told.
const NAMED: usize = 3;

pub struct Table {
    /// For messages.
    pub file: String,
    /// The names of the numbers.
    pub columns: Vec<String>,
    pub rows: Vec<Row>,
}

pub struct Row {
    pub line: u64,
    /// The run's.
    pub name: String,
    /// As written, in the order of the columns.
    cells: Vec<String>,
}

/// The names of a file's columns.
pub fn head(path: &Path, file: &str) -> anyhow::Result<Vec<String>> {
    let mut reader = open(path, file)?;
    let head = reader
        .headers()
        .with_context(|| format!("{file} is no CSV"))?;
    let head: Vec<String> = head.iter().map(|name| name.trim().to_string()).collect();
    let mut seen = BTreeSet::new();
    if let Some(twice) = head.iter().find(|name| !seen.insert(*name)) {
        bail!("{file} has two columns `{twice}`");
    }
    Ok(head)
}

fn open(path: &Path, file: &str) -> anyhow::Result<csv::Reader<std::fs::File>> {
    let mut options = csv::ReaderBuilder::new();
    let options = options.trim(csv::Trim::All);
    options
        .from_path(path)
        .with_context(|| format!("cannot read {file}"))
}

impl Table {
    /// Every row, none of which has a name yet.
    pub fn read(path: &Path, file: &str) -> anyhow::Result<Table> {
        let columns = head(path, file)?;
        let mut rows = Vec::new();
        for record in open(path, file)?.records() {
            let record = record.with_context(|| format!("{file} is no CSV"))?;
            rows.push(Row {
                line: record.position().map_or(0, csv::Position::line),
                name: String::new(),
                cells: record.iter().map(String::from).collect(),
            });
        }
        ensure!(!rows.is_empty(), "{file} has no row below its header");
        Ok(Table {
            file: file.into(),
            columns,
            rows,
        })
    }

    fn at(&self, column: &str) -> Option<usize> {
        self.columns.iter().position(|name| name == column)
    }

    /// Whether every row has another, and some, value there.
    fn tells_apart(&self, column: &str) -> bool {
        let at = self.at(column).expect("it is a column");
        let values: BTreeSet<&String> = self.rows.iter().map(|row| &row.cells[at]).collect();
        values.len() == self.rows.len() && !values.contains(&String::new())
    }

    fn values(&self, column: &str) -> BTreeSet<&String> {
        let at = self.at(column).expect("it is a column");
        self.rows.iter().map(|row| &row.cells[at]).collect()
    }

    /// Whether it has no name, or counts the rows, from 0 or from 1.
    pub fn counts_rows(&self, column: &str) -> bool {
        let at = self.at(column).expect("it is a column");
        let from = |first: usize| {
            let numbers = self.rows.iter().enumerate();
            let mut numbers = numbers.map(|(i, row)| row.cells[at] == (first + i).to_string());
            self.rows.len() > 2 && numbers.all(|is_its_number| is_its_number)
        };
        column.is_empty() || from(0) || from(1)
    }

    /// Takes out the columns that count the rows, but for those that are wanted; their names.
    pub fn without_counters(&mut self, may_go: impl Fn(&String) -> bool) -> Vec<String> {
        let columns = self.columns.iter().filter(|column| may_go(column));
        let counters: Vec<String> = columns.filter(|c| self.counts_rows(c)).cloned().collect();
        self.retain(|_, column| !counters.iter().any(|counter| counter == column));
        counters
    }

    /// A cell of the column that is neither a number nor empty.
    pub fn words_in(&self, column: &str) -> Option<(&Row, &str)> {
        let at = self.at(column)?;
        let mut cells = self.rows.iter().map(|row| (row, row.cells[at].as_str()));
        cells.find(|(_, cell)| !cell.is_empty() && cell.parse::<f64>().is_err())
    }

    /// Whether not all is a number there.
    pub fn has_words(&self, column: &str) -> bool {
        let at = self.at(column).expect("it is a column");
        let mut cells = self.rows.iter().map(|row| &row.cells[at]);
        cells.any(|cell| cell.parse::<f64>().is_err())
    }

    /// Takes a column out; `None`: there is none of that name.
    pub fn take(&mut self, column: &str) -> Option<Vec<String>> {
        let at = self.at(column)?;
        self.columns.remove(at);
        Some(
            self.rows
                .iter_mut()
                .map(|row| row.cells.remove(at))
                .collect(),
        )
    }

    /// Leaves out the columns that are not wanted.
    pub fn retain(&mut self, wanted: impl Fn(&Table, &str) -> bool) {
        let columns = self.columns.iter();
        let keep: Vec<bool> = columns.map(|column| wanted(self, column)).collect();
        self.keep(&keep);
    }

    fn keep(&mut self, keep: &[bool]) {
        let kept = |all: &mut Vec<String>| {
            let mut keep = keep.iter();
            all.retain(|_| *keep.next().expect("as many"));
        };
        kept(&mut self.columns);
        self.rows.iter_mut().for_each(|row| kept(&mut row.cells));
    }

    /// Takes the names from a column, and some columns out.
    fn name_by(&mut self, column: &str, without: &[String]) -> anyhow::Result<()> {
        let at = self.at(column).expect("it is a column");
        let mut lines: BTreeMap<String, u64> = BTreeMap::new();
        for row in &mut self.rows {
            row.name.clone_from(&row.cells[at]);
            if let Some(first) = lines.insert(row.name.clone(), row.line) {
                bail!(
                    "{}:{}: the run `{}` is in line {first} too",
                    self.file,
                    row.line,
                    row.name
                );
            }
        }
        let keep: Vec<bool> = self.columns.iter().map(|c| !without.contains(c)).collect();
        self.keep(&keep);
        ensure!(
            !self.columns.is_empty(),
            "{} has no column of numbers",
            self.file
        );
        Ok(())
    }

    pub fn place(&self, row: &Row) -> String {
        format!("{}:{}: the run `{}`", self.file, row.line, row.name)
    }

    /// All of a row, each a number.
    pub fn numbers(&self, row: &Row) -> anyhow::Result<Vec<f64>> {
        let cells = self.columns.iter().zip(&row.cells);
        let numbers = cells.map(|(column, cell)| {
            let number = cell.parse::<f64>().ok().filter(|number| number.is_finite());
            number.with_context(|| {
                format!("{}: `{column}` is `{cell}`, not a number", self.place(row))
            })
        });
        numbers.collect()
    }

    /// What is written of a row; NaN where that is no number.
    pub fn figures(&self, row: &Row) -> BTreeMap<String, f64> {
        let cells = self.columns.iter().zip(&row.cells);
        let figure = |cell: &String| cell.parse().unwrap_or(f64::NAN);
        cells
            .map(|(name, cell)| (name.clone(), figure(cell)))
            .collect()
    }
}

/// The same runs in two tables, by a column of both; what both have is no number of either.
pub fn named(mut a: Table, mut b: Table, column: &str) -> anyhow::Result<(Table, Table)> {
    let common: Vec<String> = a
        .columns
        .iter()
        .filter(|c| b.columns.contains(c))
        .cloned()
        .collect();
    let column = match column {
        "" => naming(&a, &b, &common)?,
        named => named.to_string(),
    };
    a.name_by(&column, &common)?;
    b.name_by(&column, &common)?;
    Ok((a, b))
}

/// The column that names the runs, where that is beyond doubt.
fn naming(a: &Table, b: &Table, common: &[String]) -> anyhow::Result<String> {
    let tells = common
        .iter()
        .filter(|name| a.tells_apart(name) && b.tells_apart(name));
    let (words, numbers): (Vec<&String>, Vec<&String>) = tells.partition(|name| a.has_words(name));
    if let Some(word) = words.first() {
        return Ok(word.to_string());
    }
    // A number may be that of a row in its own file.
    let same = |name: &&&String| a.values(name) == b.values(name);
    if let Some(number) = numbers
        .iter()
        .filter(same)
        .max_by_key(|name| !name.is_empty())
    {
        return Ok(number.to_string());
    }
    let is_sure = |name: &str| !(a.counts_rows(name) || b.counts_rows(name));
    match numbers[..] {
        [] => bail!(
            "no column of both {} and {} tells their runs apart: name it, `name: COLUMN`",
            a.file,
            b.file
        ),
        [only] if is_sure(only) => Ok(only.clone()),
        [only] => bail!(
            "`{only}` may be the number of a row in {} and in {}, which have different runs: name the \
             column that names them, `name: COLUMN`",
            a.file,
            b.file
        ),
        _ => bail!(
            "{} could each name the runs, and {} and {} have different ones: name the right column, \
             `name: COLUMN`",
            numbers
                .iter()
                .map(|name| format!("`{name}`"))
                .collect::<Vec<_>>()
                .join(" and "),
            a.file,
            b.file
        ),
    }
}

/// Whether a column is one of those named; `cluster_*` names all that begin so.
pub fn is_among(column: &str, names: &[String]) -> bool {
    names.iter().any(|name| match name.strip_suffix('*') {
        Some(start) => column.starts_with(start),
        None => column == name,
    })
}

/// The training seed of each run, where its cell is not empty.
pub fn seeds(table: &Table, column: &str, cells: &[String]) -> anyhow::Result<Vec<Option<u64>>> {
    let rows = table.rows.iter().zip(cells);
    let seed = |(row, cell): (&Row, &String)| {
        match cell.as_str() {
        "" => Ok(None),
        text => text.parse().map(Some).ok().with_context(|| {
            let place = table.place(row);
            format!("{place}: `{column}` is `{text}`, not a whole number; name the column of seeds, `seed: COLUMN`")
        }),
    }
    };
    rows.map(seed).collect()
}

/// `3 runs have no metrics`, `1 run has …`.
pub fn these(names: &[&str], why: &str) -> String {
    let runs = counted(names.len(), "run");
    match names.len() {
        1 => format!(
            "{runs} {}",
            why.replacen("have", "has", 1)
                .replacen("lack ", "lacks ", 1)
        ),
        _ => format!("{runs} {why}"),
    }
}

/// The first of the names.
pub fn some(names: &[&str]) -> String {
    let more = if names.len() > NAMED { ", …" } else { "" };
    format!("{}{more}", names[..names.len().min(NAMED)].join(", "))
}
