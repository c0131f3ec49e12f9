//! Flickr8k as its authors give it away: `Flickr8k.token.txt` and `Flickr_8k.{train,dev,test}Images.txt`.

use std::collections::HashMap;
use std::path::Path;

use crate::dataset::{Entries, leading_digits};
use crate::descriptor::{Descriptor, Splits, resolve};
use crate::{Error, Record, Result, Split};

pub(crate) fn read(described: &Descriptor, base: &Path, entries: &mut Entries) -> Result<()> {
    let mut captions: HashMap<String, Vec<String>> = HashMap::new();
    for file in &described.captions {
        read_lines(file, base, |place, line| {
            let (name, caption) = line
                .split_once('\t')
                .and_then(|(name, caption)| Some((name.rsplit_once('#')?.0, caption)))
                .ok_or_else(|| Error::data(place, "expected NAME#NUMBER, a tab and a caption"))?;
            captions.entry(plain(name)).or_default().push(caption.trim().to_owned());
            Ok(())
        })?;
    }
    let Splits { train, val, test } = &described.splits;
    for (lists, split) in [(train, Split::Train), (val, Split::Val), (test, Split::Test)] {
        for list in lists {
            read_lines(list, base, |place, line| {
                let name = plain(line);
                let id = leading_digits(&name).ok_or_else(|| {
                    Error::data(place, format!("no digits lead the name `{name}`"))
                })?;
                if entries.position(id).is_some() {
                    return Err(Error::data(place, format!("image `{name}` is listed twice")));
                }
                let captions = captions
                    .remove(&name)
                    .ok_or_else(|| Error::data(place, format!("image `{name}` has no caption")))?;
                entries.push_file(Record { id, split, captions }, name, place)
            })?;
        }
    }
    entries.left_out = captions.len();
    Ok(())
}

/// Calls `each` with the place and text of every line that is not blank, without its CRLF.
fn read_lines(
    file: &str,
    base: &Path,
    mut each: impl FnMut(&str, &str) -> Result<()>,
) -> Result<()> {
    for path in resolve(file, base)? {
        let bytes = std::fs::read(&path).map_err(nic_core::Error::io(&path))?;
        for (number, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
            let place = format!("{}: line {}", path.display(), number + 1);
            let line =
                std::str::from_utf8(line).map_err(|_| Error::data(&place, "not UTF-8 text"))?;
            if !line.trim().is_empty() {
                each(&place, line.trim())?;
            }
        }
    }
    Ok(())
}

/// The token file calls one image `2258277193_586949ec62.jpg.1`.
fn plain(name: &str) -> String {
    let name = name.trim();
    match name.rsplit_once('.') {
        Some((rest, number))
            if rest.ends_with(".jpg") && number.bytes().all(|b| b.is_ascii_digit()) =>
        {
            rest
        }
        _ => name,
    }
    .to_owned()
}
