//! Parquet files that pyarrow wrote.

use std::collections::BTreeMap;

use nic_data::{Dataset, Split};

use crate::{Files, golden, hex, records};

/// Id, captions, image.
type Row = (i64, Vec<String>, Option<String>);

fn expected() -> BTreeMap<String, Vec<Row>> {
    serde_json::from_slice(&std::fs::read(golden().join("parquet.json")).unwrap()).unwrap()
}

fn open(file: &str, columns: &str) -> Dataset {
    let path = golden().join(file);
    let text = format!(
        "name = 'p'\nformat = 'parquet'\n[splits]\ntest = ['{}']\n{columns}",
        path.display()
    );
    Files::new(&[]).open(&text).unwrap()
}

/// That the dataset is `expected`, its images read in one go, in leaps and backwards.
fn compare(dataset: &Dataset, expected: &[Row]) {
    let found: Vec<_> = dataset.records().iter().map(|r| (r.id, &r.captions)).collect();
    assert_eq!(found, expected.iter().map(|row| (row.0, &row.1)).collect::<Vec<_>>());
    let all: Vec<_> = (0..expected.len()).collect();
    let leaps: Vec<_> = all.iter().copied().filter(|position| position % 3 == 2).collect();
    let backwards: Vec<_> = all.iter().copied().rev().collect();
    for positions in [all, leaps, backwards] {
        let images = dataset.images(&positions).unwrap();
        for (position, image) in positions.iter().zip(images) {
            match &expected[*position].2 {
                Some(bytes) => assert_eq!(hex(&image.unwrap()), *bytes),
                None => {
                    let error = image.unwrap_err().to_string();
                    let end = format!("row {position}: column image holds no image");
                    assert!(error.ends_with(&end), "{error}");
                }
            }
        }
    }
}

#[test]
fn every_encoding_compression_and_page_version() {
    let mut files = 0;
    for (file, rows) in expected().iter().filter(|(file, _)| file.starts_with("coco-")) {
        let dataset = open(file, "");
        assert_eq!(dataset.split(Split::Test).unwrap().len(), 7);
        compare(&dataset, rows);
        files += 1;
    }
    assert_eq!(files, 8);
}

#[test]
fn without_an_id_the_file_name_or_the_row_is_one() {
    let expected = expected();
    for file in ["flickr8k.parquet", "nameless.parquet"] {
        compare(&open(file, ""), &expected[file]);
    }
}

#[test]
fn a_row_for_each_caption() {
    let columns =
        "id = 'key'\nimage = 'jpg'\ncaptions = 'text'\nsplit = 'part'\nfile_name = 'file'";
    let dataset = open("captions.parquet", &format!("[columns]\n{columns}"));
    compare(&dataset, &expected()["captions.parquet"]);
    let splits: Vec<_> = records(&dataset).iter().map(|record| record.1).collect();
    assert_eq!(splits, [Split::Train, Split::Train, Split::Val, Split::Test]);
}

#[test]
fn images_of_their_own_files() {
    let files = Files::new(&[("images/100.jpg", "hundred")]);
    let text = format!(
        "name = 'p'\nformat = 'parquet'\ncaptions = ['{}']\nimages = ['images']\n\
         [columns]\nid = 'key'\ncaptions = 'text'\nsplit = 'part'\nfile_name = 'file'",
        golden().join("captions.parquet").display()
    );
    let dataset = files.open(&text).unwrap();
    let images: Vec<_> = dataset.images(&[0, 1]).unwrap().collect();
    assert_eq!(images[0].as_ref().unwrap(), b"hundred");
    assert_eq!(
        files.without_dir(images[1].as_ref().unwrap_err()),
        "101.jpg: no such file in images"
    );
}

#[test]
fn errors_list_the_columns_there_are() {
    let error = |columns: &str, captions: &str| {
        let files = Files::new(&[]);
        let golden = golden();
        let text = format!(
            "name = 'p'\nformat = 'parquet'\n{captions} = ['{}/captions.parquet']\n{columns}",
            golden.display()
        );
        files.error(&text).replace(&format!("{}/", golden.display()), "")
    };
    let there = "there are: key, jpg, text, part, file; [columns] chooses among them";
    assert_eq!(
        error("", "splits.val"),
        format!(
            "captions.parquet: a column sentences_raw or captions or caption is missing; {there}"
        )
    );
    assert_eq!(
        error("[columns]\ncaptions = 'text'\nid = 'cocoid'", "splits.val"),
        format!("captions.parquet: a column cocoid is missing; {there}")
    );
    let columns = "[columns]\ncaptions = 'text'\nid = ";
    assert_eq!(
        error(&format!("{columns}'part'"), "splits.val"),
        "captions.parquet: row 0: image id is `train`, expected an integer"
    );
    assert!(
        error(&format!("{columns}'key'"), "captions")
            .contains("row 0: no split: name the file in [splits]")
    );
    assert_eq!(
        error(&format!("{columns}'key'\nsplit = 'file'"), "captions"),
        "captions.parquet: row 0: split is `100.jpg`, expected train, restval, val or test"
    );
    assert!(
        error(&format!("{columns}'jpg'"), "splits.val").ends_with("column jpg: not UTF-8 text")
    );
    let dataset = open("captions.parquet", &format!("{columns}'key'"));
    let error = dataset.images(&[0]).unwrap().next().unwrap().unwrap_err().to_string();
    assert!(error.ends_with(&format!("a column image is missing; {there}")), "{error}");
    let dataset = open("captions.parquet", &format!("{columns}'key'\nimage = 'text'"));
    assert_eq!(dataset.images(&[1]).unwrap().next().unwrap().unwrap(), b"image 1, caption 0");
}
