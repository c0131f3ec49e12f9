//! One Parquet file, read a column at a time.

use std::fmt::Display;
use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use parquet::basic::Type;
use parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use parquet::data_type::{ByteArrayType, DataType};
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::schema::types::ColumnDescriptor;

use crate::{Error, Result};

/// Records read at once.
const BATCH: usize = 1024;

/// An open Parquet file. Only the footer and the columns asked for are read.
pub(crate) struct Table {
    path: PathBuf,
    file: SerializedFileReader<File>,
}

/// One column of one row group, from the first of its rows on.
pub(crate) type Bytes = ColumnReaderImpl<ByteArrayType>;

impl Table {
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(nic_core::Error::io(path))?;
        let file = SerializedFileReader::new(file)
            .map_err(|error| Error::reading(path, path.display(), error))?;
        Ok(Self { path: path.to_owned(), file })
    }

    /// The rows of each row group.
    pub(crate) fn row_groups(&self) -> impl Iterator<Item = usize> {
        let groups = self.file.metadata().row_groups().iter();
        groups.map(|group| usize::try_from(group.num_rows()).unwrap_or(0))
    }

    /// The column called `name`, or the only one inside it (a list's element).
    pub(crate) fn find(&self, name: &str) -> Option<usize> {
        let names: Vec<_> = self.columns().map(|column| column.path().string()).collect();
        let inside = |column: &String| {
            column.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        let first = names.iter().position(inside)?;
        let only = names.iter().filter(|column| inside(column)).count() == 1;
        only.then_some(first)
    }

    /// What to say where [`Table::find`] finds nothing.
    pub(crate) fn missing(&self, names: &[&str]) -> Error {
        let columns: Vec<_> = self.columns().map(|column| column.path().string()).collect();
        nic_core::Error::Missing {
            place: self.path.display().to_string(),
            what: format!("a column {}", names.join(" or ")),
            hint: format!("; there are: {}; [columns] chooses among them", columns.join(", ")),
        }
        .into()
    }

    /// A column of strings or integers as text: a list for each row, empty where it is null.
    pub(crate) fn text(&self, column: usize) -> Result<Vec<Vec<String>>> {
        let descriptor = self.file.metadata().file_metadata().schema_descr().column(column);
        let name = descriptor.path().string();
        if descriptor.max_rep_level() > 1 {
            return Err(self.invalid(&name, "a list of lists, expected text or a list of text"));
        }
        let mut rows = Vec::new();
        for (group, expected) in self.row_groups().enumerate() {
            let before = rows.len();
            let read = match self.reader(group, column)? {
                ColumnReader::Int32ColumnReader(reader) => {
                    append(reader, &descriptor, &mut rows, |value| Some(value.to_string()))
                }
                ColumnReader::Int64ColumnReader(reader) => {
                    append(reader, &descriptor, &mut rows, |value| Some(value.to_string()))
                }
                ColumnReader::ByteArrayColumnReader(reader) => {
                    append(reader, &descriptor, &mut rows, |value| {
                        value.as_utf8().ok().map(str::to_owned)
                    })
                }
                _ => {
                    let found = descriptor.physical_type();
                    return Err(
                        self.invalid(&name, format!("{found} values, expected text or integers"))
                    );
                }
            };
            read.map_err(|error| self.invalid(&name, error))?;
            let found = rows.len() - before;
            if found != expected {
                let reason = format!("{found} rows in row group {group}, expected {expected}");
                return Err(self.invalid(&name, reason));
            }
        }
        Ok(rows)
    }

    /// A column of bytes in one row group.
    pub(crate) fn bytes(&self, group: usize, column: usize) -> Result<Bytes> {
        let descriptor = self.file.metadata().file_metadata().schema_descr().column(column);
        let name = descriptor.path().string();
        match self.reader(group, column)? {
            ColumnReader::ByteArrayColumnReader(reader) if descriptor.max_rep_level() == 0 => {
                Ok(reader)
            }
            _ => Err(self.invalid(
                &name,
                format!("{}, expected one image's bytes in a row", kind(&descriptor)),
            )),
        }
    }

    fn reader(&self, group: usize, column: usize) -> Result<ColumnReader> {
        let reader =
            self.file.get_row_group(group).and_then(|group| group.get_column_reader(column));
        reader.map_err(|error| Error::reading(&self.path, self.path.display(), error))
    }

    fn columns(&self) -> impl Iterator<Item = &ColumnDescriptor> {
        self.file.metadata().file_metadata().schema_descr().columns().iter().map(AsRef::as_ref)
    }

    fn invalid(&self, column: &str, reason: impl Display) -> Error {
        Error::data(format_args!("{}: column {column}", self.path.display()), reason)
    }
}

fn kind(descriptor: &ColumnDescriptor) -> String {
    match (descriptor.max_rep_level(), descriptor.physical_type()) {
        (0, Type::BYTE_ARRAY) => "bytes".to_owned(),
        (0, other) => format!("{other}"),
        (_, other) => format!("a list of {other}"),
    }
}

/// Appends the values of every record (Dremel's levels: a repetition level of 0 begins a record, the highest definition
/// level has a value).
fn append<T: DataType>(
    mut reader: ColumnReaderImpl<T>,
    descriptor: &ColumnDescriptor,
    rows: &mut Vec<Vec<String>>,
    text: impl Fn(&T::T) -> Option<String>,
) -> std::result::Result<(), String> {
    let (max_definition, max_repetition) = (descriptor.max_def_level(), descriptor.max_rep_level());
    let (mut definitions, mut repetitions, mut values) = (Vec::new(), Vec::new(), Vec::new());
    loop {
        definitions.clear();
        repetitions.clear();
        values.clear();
        let read =
            reader.read_records(BATCH, Some(&mut definitions), Some(&mut repetitions), &mut values);
        let (records, _, levels) = read.map_err(|error| error.to_string())?;
        if records == 0 {
            return Ok(());
        }
        let mut values = values.iter();
        for level in 0..levels {
            if max_repetition == 0 || repetitions.get(level) == Some(&0) {
                rows.push(Vec::new());
            }
            if max_definition == 0 || definitions.get(level) == Some(&max_definition) {
                let value = values.next().ok_or("fewer values than levels")?;
                let value = text(value).ok_or("not UTF-8 text")?;
                rows.last_mut().ok_or("a list without a row")?.push(value);
            }
        }
    }
}

/// The parquet crate trusts some numbers of a file and panics on damaged ones: here that is an error like any other.
pub(crate) fn guarded<T>(place: &str, read: impl FnOnce() -> Result<T>) -> Result<T> {
    // What a panic may leave half changed is dropped with the error.
    catch_unwind(AssertUnwindSafe(read))
        .unwrap_or_else(|_| Err(Error::data(place, "the Parquet file is damaged")))
}
