//! Files of references and results, and what is wrong with them.

#![allow(clippy::unwrap_used)] // as in tests themselves

use std::ops::Range;
use std::path::PathBuf;

use caption_metrics::{Corpus, Error, References, Results};
use serde_json::{Value, json};

struct Files(tempfile::TempDir);

impl Files {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn write(&self, name: &str, value: &Value) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, value.to_string()).unwrap();
        path
    }

    /// The error of reading `value` as references.
    fn refused(&self, value: &Value) -> String {
        References::read(&self.write("bad.json", value)).unwrap_err().to_string()
    }
}

fn coco() -> Value {
    json!({
        "info": { "year": 2014 },
        "images": [{ "id": 7, "file_name": "7.jpg" }, { "id": 3, "file_name": "3.jpg" }],
        "annotations": [
            { "image_id": 3, "id": 1, "caption": "a \"small\" dog" },
            { "image_id": 7, "id": 2, "caption": "a cat" },
            { "image_id": 3, "id": 3, "caption": "a dog" },
        ],
    })
}

fn karpathy() -> Value {
    let image = |filename: &str, cocoid: Option<i64>, split: &str| {
        let mut image = json!({
            "filename": filename, "imgid": 0, "split": split,
            "sentences": [{ "raw": format!("{filename} in {split}"), "tokens": [] }],
        });
        if let Some(cocoid) = cocoid {
            image["cocoid"] = cocoid.into();
        }
        image
    };
    json!({ "dataset": "tiny", "images": [
        image("COCO_1.jpg", Some(11), "restval"), image("COCO_2.jpg", Some(12), "train"),
        image("0013_ab.jpg", None, "test"), image("14.jpg", None, "test"),
    ] })
}

fn split_on_space(captions: &[&str], part: Range<usize>) -> Vec<Vec<String>> {
    captions[part].iter().map(|caption| caption.split(' ').map(String::from).collect()).collect()
}

fn results(captions: &[(i64, &str)]) -> Results {
    Results::new("results", captions.iter().map(|&(id, c)| (id, c.to_owned())).collect())
}

#[test]
fn reads_coco() {
    let files = Files::new();
    let references = References::read(&files.write("captions.json", &coco())).unwrap();
    let dog = vec!["a \"small\" dog".to_owned(), "a dog".to_owned()];
    assert_eq!(references.images(), [(7, vec!["a cat".to_owned()]), (3, dog)]);
    assert!(!references.has_splits());
    let error = references.split("test").unwrap_err().to_string();
    assert!(error.contains("captions.json: has no splits"), "{error}");
}

#[test]
fn reads_karpathy() {
    let files = Files::new();
    let references = References::read(&files.write("dataset.json", &karpathy())).unwrap();
    assert!(references.has_splits());
    let ids = |references: &References| references.images().iter().map(|i| i.0).collect::<Vec<_>>();
    assert_eq!(ids(&references), [11, 12, 13, 14]);
    assert_eq!(ids(&references.clone().split("train").unwrap()), [11, 12]);
    assert_eq!(ids(&references.clone().split("test").unwrap()), [13, 14]);
    assert_eq!(references.images()[2].1, ["0013_ab.jpg in test"]);
    let error = references.split("val").unwrap_err().to_string();
    assert!(error.contains("no image is of split val"), "{error}");
    assert!(error.contains("test (2), train (2)"), "{error}");
}

#[test]
fn reads_results() {
    let files = Files::new();
    let rows =
        json!([{ "image_id": 7, "caption": "a cat", "id": 1 }, { "image_id": 3, "caption": "" }]);
    let results = Results::read(&files.write("results.json", &rows)).unwrap();
    assert_eq!(results.captions(), [(7, "a cat".to_owned()), (3, String::new())]);
    let rows = json!([{ "image_id": 7 }]);
    let error = Results::read(&files.write("results.json", &rows)).unwrap_err().to_string();
    assert!(error.contains("results.json: missing field `caption`"), "{error}");
    let error = Results::read(&files.0.path().join("none.json")).unwrap_err();
    assert!(matches!(error, Error::Io { .. }), "{error}");
    assert!(error.to_string().contains("none.json"), "{error}");
}

#[test]
fn names_what_is_wrong_with_references() {
    let files = Files::new();
    let mut stray = coco();
    stray["annotations"][1]["image_id"] = 8.into();
    let error = files.refused(&stray);
    assert!(error.contains("bad.json: annotations[1]: image_id 8 is not in images"), "{error}");
    let mut nameless = coco();
    nameless["images"][1] = json!({ "file_name": "3.jpg" });
    assert!(files.refused(&nameless).contains("images[1]: has no id"));
    let error = files.refused(&json!({ "images": [{ "id": 1 }] }));
    assert!(error.contains("images[0]: has no sentences"), "{error}");
    let mut unknown = karpathy();
    unknown["images"][3]["filename"] = "x14.jpg".into();
    assert!(files.refused(&unknown).contains("images[3]: has no cocoid"));
    unknown["images"][0].as_object_mut().unwrap().remove("split");
    assert!(files.refused(&unknown).contains("images[0]: has no split"));
    assert!(files.refused(&json!([])).contains("bad.json"));
}

#[test]
fn lists_images_that_do_not_pair() {
    let references = |ids: &[i64]| {
        References::new("references", ids.iter().map(|&id| (id, vec!["a".into()])).collect())
    };
    let pair = |ids: &[i64], captions: &[(i64, &str)]| {
        Corpus::new(&references(ids), &results(captions), split_on_space)
    };
    let corpus = pair(&[7, 3], &[(3, "c"), (7, "b")]).unwrap();
    let candidates = corpus.images().iter().map(|image| {
        (image.id, corpus.words().tokens(&image.candidate).collect::<Vec<_>>().join(" "))
    });
    assert_eq!(candidates.collect::<Vec<_>>(), [(7, "b".into()), (3, "c".into())]);

    let ids: Vec<_> = (0..9).collect();
    let error = pair(&ids, &[(8, "a"), (8, "b"), (8, "c"), (20, "d"), (20, "e"), (-1, "f")]);
    let error = error.unwrap_err();
    let expected = "results does not fit references: 2 results of no known image (-1, 20); \
                    8 images have no result (0, 1, 2, 3, 4, ...); \
                    1 image has more than one result (8)";
    assert_eq!(error.to_string(), expected);
    let Error::Pairing { missing, .. } = error else { panic!("{error}") };
    assert_eq!(missing, ids[..8]);
}

#[test]
fn refuses_references_that_cannot_be_scored_by() {
    let refused = |images: Vec<(i64, Vec<String>)>| {
        let references = References::new("references", images);
        Corpus::new(&references, &results(&[]), split_on_space).unwrap_err().to_string()
    };
    assert_eq!(refused(vec![]), "references: holds no image");
    let caption = || vec!["a".to_owned()];
    let bare = vec![(1, caption()), (2, vec![]), (3, vec![])];
    assert_eq!(refused(bare), "references: 2 images have no caption (2, 3)");
    let twice = vec![(4, caption()), (2, caption()), (4, caption()), (4, caption())];
    assert_eq!(refused(twice), "references: 1 images come twice (4)");
}
