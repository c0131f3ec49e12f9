//! Images from directories and from archives that Python's zipfile wrote.

use std::fmt::Write as _;

use crate::{Files, golden};

/// A dataset of images with these ids, each called ID.jpg or as `names` says.
fn dataset(files: &Files, names: &[&str], folders: &[&str]) -> nic_data::Dataset {
    let mut json = String::from("{\"images\": [");
    for (number, name) in names.iter().enumerate() {
        let comma = if number > 0 { "," } else { "" };
        let (path, name) = name.rsplit_once('/').unwrap_or(("", name));
        write!(json, r#"{comma}{{"filename": "{name}", "filepath": "{path}", "cocoid": {number}, "split": "train", "sentences": []}}"#).unwrap();
    }
    json.push_str("]}");
    std::fs::write(files.path("d.json"), json).unwrap();
    let folders = folders.iter().map(|folder| format!("'{}'", golden().join(folder).display()));
    let folders = folders.collect::<Vec<_>>().join(", ");
    files
        .open(&format!(
            "name = 'd'\nformat = 'karpathy'\ncaptions = ['d.json']\nimages = [{folders}]"
        ))
        .unwrap()
}

/// The images as text, and what went wrong.
fn read(files: &Files, names: &[&str], folders: &[&str]) -> Vec<Result<String, String>> {
    let dataset = dataset(files, names, folders);
    let all: Vec<_> = (0..names.len()).collect();
    let images = dataset.images(&all).unwrap();
    assert_eq!(images.size_hint(), (names.len(), Some(names.len())));
    images
        .map(|image| match image {
            Ok(bytes) => Ok(String::from_utf8(bytes).unwrap()),
            Err(error) => {
                let text = files.without_dir(&error);
                Err(text.replace(&format!("{}/", golden().display()), ""))
            }
        })
        .collect()
}

#[test]
fn archives_stay_packed() {
    let files = Files::new(&[]);
    let folders = ["stored.zip", "deflated.zip", "zip64.zip"];
    let images = read(
        &files,
        &["2.jpg", "val2014/1.jpg", "train2014/3.jpg", "4.jpg", "val2014/5.jpg", "6.jpg"],
        &folders,
    );
    let deflated = "deflated ".repeat(100);
    let expected = [Ok("stored 2"), Ok("stored 1"), Ok(deflated.as_str()), Ok(""), Ok("zip64")]
        .map(|r| r.map(str::to_owned));
    assert_eq!(images[..5], expected);
    let error = images[5].clone().unwrap_err();
    assert_eq!(error, "6.jpg: no such file in stored.zip, deflated.zip, zip64.zip");
}

#[test]
fn an_image_that_cannot_be_read_does_not_stop_the_next() {
    let files = Files::new(&[]);
    let images = read(&files, &["1.jpg", "2.jpg", "3.jpg"], &["bad_crc.zip"]);
    assert_eq!(images[0], Ok("fine".to_owned()));
    assert_eq!(images[1], Err("bad_crc.zip: 2.jpg: Invalid checksum".to_owned()));
    assert_eq!(images[2], Ok("fine too".to_owned()));

    let images = read(&files, &["c/6.jpg", "7.jpg"], &["twice.zip"]);
    let twice = "twice.zip: c/6.jpg: several files of the archive have this name";
    assert_eq!(images, [Err(twice.to_owned()), Ok("seventh".to_owned())]);

    let images = read(&files, &["1.jpg"], &["bzip2.zip"]);
    assert!(images[0].clone().unwrap_err().starts_with("bzip2.zip: 1.jpg: "), "{images:?}");
}

#[test]
fn the_first_directory_that_has_the_file_wins() {
    let files = Files::new(&[
        ("a/1.jpg", "a1"),
        ("b/1.jpg", "b1"),
        ("b/val2014/2.jpg", "b2"),
        ("b/2.jpg", "other"),
    ]);
    std::fs::create_dir(files.path("a/3.jpg")).unwrap();
    let (a, b) = (files.path("a"), files.path("b"));
    let folders = [a.to_str().unwrap(), b.to_str().unwrap(), "stored.zip"];
    let images = read(&files, &["val2014/2.jpg", "3.jpg", "train2014/1.jpg", "9.jpg"], &folders);
    assert_eq!(images[0], Ok("b2".to_owned()));
    assert!(images[1].clone().unwrap_err().starts_with("a/3.jpg: "), "{images:?}");
    assert_eq!(images[2], Ok("a1".to_owned()));
    assert_eq!(images[3], Err("9.jpg: no such file in a, b, stored.zip".to_owned()));
}

#[test]
fn images_that_only_their_directories_tell_apart_are_not_mistaken() {
    let files = Files::new(&[("a/6.jpg", "a6"), ("6.jpg", "other")]);
    let root = files.0.path().to_str().unwrap();
    let images = read(&files, &["b/6.jpg", "a/6.jpg", "c/6.jpg"], &[root, "twice.zip"]);
    let missing = "c/6.jpg: no such file in ";
    assert_eq!(images[..2], [Ok("second".to_owned()), Ok("a6".to_owned())]);
    assert!(images[2].clone().unwrap_err().starts_with(missing), "{images:?}");
}

#[test]
fn a_folder_that_is_missing_or_no_archive_is_named() {
    let files = Files::new(&[("text.zip", "not an archive")]);
    let whole = std::fs::read(golden().join("stored.zip")).unwrap();
    std::fs::write(files.path("cut.zip"), &whole[..whole.len() - 30]).unwrap();
    for (folder, reason) in [
        ("gone", "the file is missing"),
        ("text.zip", "neither a directory nor a whole .zip archive"),
        ("cut.zip", "neither a directory nor a whole .zip archive"),
    ] {
        let path = files.path(folder);
        // captions can be had without images
        let dataset = dataset(&files, &["1.jpg"], &[path.to_str().unwrap()]);
        let error = dataset.images(&[0]).unwrap_err().to_string();
        assert!(error.starts_with(&format!("{}: {reason}", path.display())), "{error}");
    }
}

#[test]
fn a_reader_thread_can_have_the_images() {
    let files = Files::new(&[]);
    let dataset = dataset(&files, &["1.jpg", "2.jpg"], &["stored.zip"]);
    let images = dataset.images(&[1]).unwrap();
    let read = std::thread::scope(|scope| {
        scope.spawn(|| images.map(Result::unwrap).collect::<Vec<_>>()).join().unwrap()
    });
    assert_eq!(read, [b"stored 2"]);
    assert!(dataset.images(&[2]).unwrap_err().to_string().contains("no record 2, only 2"));
}
