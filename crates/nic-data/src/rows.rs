//! Datasets in Parquet files: a row is an image, or one caption of it.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::dataset::{Entries, leading_digits};
use crate::descriptor::Descriptor;
use crate::table::{Bytes, Table, guarded};
use crate::{Error, Record, Result, Split};

/// Where the image of each record is.
#[derive(Debug)]
pub(crate) struct ImageRows {
    files: Vec<PathBuf>,
    /// File and row of each record.
    places: Vec<(usize, usize)>,
    /// Of bytes, or of a struct with a field `bytes`.
    column: String,
}

/// What tells one image from another.
#[derive(Clone, Copy, PartialEq)]
enum Id {
    Column,
    FileName,
    Row,
}

/// Reads captions, and no image; none where the images are in files of their own.
pub(crate) fn read(
    described: &Descriptor,
    base: &Path,
    entries: &mut Entries,
) -> Result<Option<ImageRows>> {
    let in_files = !described.images.is_empty();
    let column = described.columns.image.clone().unwrap_or_else(|| "image".to_owned());
    let mut rows = ImageRows { files: Vec::new(), places: Vec::new(), column };
    let (mut id_from, mut number) = (None, 0);
    for (path, of_file) in described.caption_files(base)? {
        let columns = guarded(&path.display().to_string(), || Columns::read(&path, described))?;
        let id_from = *id_from.get_or_insert_with(|| columns.id_from());
        for row in 0..columns.len {
            let place = format!("{}: row {row}", path.display());
            let invalid = |reason: String| Error::data(&place, reason);
            let split = columns.split(row, of_file).map_err(invalid)?;
            let id = match id_from {
                Id::Column => columns.id(row),
                Id::FileName => columns.file_name(row).and_then(|name| {
                    leading_digits(name)
                        .ok_or_else(|| format!("no digits lead the file name `{name}`"))
                }),
                Id::Row => Ok(number),
            };
            let id = id.map_err(invalid)?;
            number += 1;
            let captions = columns.captions.iter().flat_map(|column| &column[row]).cloned();
            if let Some(position) = entries.position(id) {
                let record = &mut entries.records[position];
                if record.split != split {
                    let earlier = record.split;
                    return Err(invalid(format!(
                        "image id {id} is in {split}, but an earlier row is in {earlier}"
                    )));
                }
                record.captions.extend(captions);
                continue;
            }
            let record = Record { id, split, captions: captions.collect() };
            if in_files {
                let name = columns.file_name(row).map_err(invalid)?;
                entries.push_file(record, name.to_owned(), &place)?;
            } else {
                entries.push(record, &place)?;
                rows.places.push((rows.files.len(), row));
            }
        }
        rows.files.push(path);
    }
    Ok((!in_files).then_some(rows))
}

/// Everything but the images of one file; a list for each row.
struct Columns {
    len: usize,
    ids: Option<Vec<Vec<String>>>,
    file_names: Option<Vec<Vec<String>>>,
    splits: Option<Vec<Vec<String>>>,
    captions: Vec<Vec<Vec<String>>>,
}

impl Columns {
    fn read(path: &Path, described: &Descriptor) -> Result<Self> {
        let table = Table::open(path)?;
        let chosen = &described.columns;
        // A column that the descriptor names must be there; the usual names are only tried.
        let read = |chosen: &Option<String>, usual: &[&str]| match chosen {
            Some(name) => {
                let column = table.find(name).ok_or_else(|| table.missing(&[name]))?;
                table.text(column).map(Some)
            }
            None => usual
                .iter()
                .find_map(|name| table.find(name))
                .map(|column| table.text(column))
                .transpose(),
        };
        let names: &[&str] = match &chosen.captions {
            Some(name) => &[name],
            None => &["sentences_raw", "captions", "caption"],
        };
        let captions = names
            .iter()
            .map(|name| match table.find(name) {
                Some(column) => vec![column],
                None => (0..).map_while(|number| table.find(&format!("{name}_{number}"))).collect(),
            })
            .find(|columns| !columns.is_empty())
            .ok_or_else(|| table.missing(names))?;
        let columns = Self {
            len: table.row_groups().sum(),
            ids: read(&chosen.id, &["cocoid", "image_id"])?,
            file_names: read(&chosen.file_name, &["file_name", "filename", "image.path"])?,
            splits: chosen.split.as_ref().map_or(Ok(None), |_| read(&chosen.split, &[]))?,
            captions: captions
                .into_iter()
                .map(|column| table.text(column))
                .collect::<Result<_>>()?,
        };
        if !described.images.is_empty() && columns.file_names.is_none() {
            return Err(table.missing(&["file_name", "filename", "image.path"]));
        }
        Ok(columns)
    }

    fn id_from(&self) -> Id {
        let first = self.file_names.as_ref().and_then(|names| names.first()?.first());
        match first.and_then(|name| leading_digits(name)) {
            _ if self.ids.is_some() => Id::Column,
            Some(_) => Id::FileName,
            None => Id::Row,
        }
    }

    fn id(&self, row: usize) -> std::result::Result<i64, String> {
        let ids = self.ids.as_ref().ok_or("no column of image ids, which an earlier file has")?;
        let text = only(Some(ids), row).ok_or("no image id")?;
        text.parse().map_err(|_| format!("image id is `{text}`, expected an integer"))
    }

    fn file_name(&self, row: usize) -> std::result::Result<&str, String> {
        Ok(only(self.file_names.as_ref(), row).ok_or("no file name")?)
    }

    fn split(&self, row: usize, of_file: Option<Split>) -> std::result::Result<Split, String> {
        if self.splits.is_none() {
            return of_file.ok_or_else(|| {
                "no split: name the file in [splits] train, val or test, or a column in [columns] split".to_owned()
            });
        }
        let name = only(self.splits.as_ref(), row).ok_or("no split")?;
        Split::parse(name)
            .ok_or_else(|| format!("split is `{name}`, expected train, restval, val or test"))
    }
}

fn only(column: Option<&Vec<Vec<String>>>, row: usize) -> Option<&str> {
    column?.get(row)?.first().map(String::as_str)
}

/// Reads images in the order of their rows, one row group at a time and one page of it.
pub(crate) struct RowReader<'a> {
    rows: &'a ImageRows,
    open: Option<OpenGroup>,
}

struct OpenGroup {
    file: usize,
    /// The rows of the file that are still to come in this group.
    next: usize,
    end: usize,
    images: Bytes,
}

impl<'a> RowReader<'a> {
    pub(crate) fn new(rows: &'a ImageRows) -> Self {
        Self { rows, open: None }
    }

    /// The image of the record at `position`.
    pub(crate) fn read(&mut self, position: usize) -> Result<Vec<u8>> {
        let (file, row) = self.rows.places[position];
        let path = &self.rows.files[file];
        let place = format!("{}: row {row}", path.display());
        let (group, image) = guarded(&place, || {
            // After an error the state of the group is unknown: it is opened again.
            let mut group = match self.open.take() {
                Some(group) if group.file == file && (group.next..group.end).contains(&row) => {
                    group
                }
                _ => self.rows.open(file, row)?,
            };
            let image = group.read(row).map_err(|error| Error::reading(path, &place, error))?;
            Ok((group, image))
        })?;
        self.open = Some(group);
        image.ok_or_else(|| {
            Error::data(place, format!("column {} holds no image", self.rows.column))
        })
    }
}

impl ImageRows {
    fn open(&self, file: usize, row: usize) -> Result<OpenGroup> {
        let path = &self.files[file];
        let table = Table::open(path)?;
        let column = table
            .find(&format!("{}.bytes", self.column))
            .or_else(|| table.find(&self.column))
            .ok_or_else(|| table.missing(&[&self.column]))?;
        let mut next = 0;
        for (group, rows) in table.row_groups().enumerate() {
            if row < next + rows {
                let images = table.bytes(group, column)?;
                return Ok(OpenGroup { file, next, end: next + rows, images });
            }
            next += rows;
        }
        Err(Error::data(path.display(), format!("row {row} is gone: the file has {next} now")))
    }
}

impl OpenGroup {
    fn read(&mut self, row: usize) -> parquet::errors::Result<Option<Vec<u8>>> {
        let ended = || parquet::errors::ParquetError::EOF("the row group ends early".to_owned());
        let skip = row - self.next;
        if self.images.skip_records(skip)? != skip {
            return Err(ended());
        }
        let (mut definitions, mut values) = (Vec::new(), Vec::new());
        let (records, _, _) =
            self.images.read_records(1, Some(&mut definitions), None, &mut values)?;
        if records != 1 {
            return Err(ended());
        }
        self.next = row + 1;
        Ok(values.first().map(|image| image.data().to_vec()))
    }
}

impl fmt::Debug for RowReader<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RowReader").field("rows", self.rows).finish_non_exhaustive()
    }
}
