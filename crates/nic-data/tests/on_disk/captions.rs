//! COCO's, Karpathy's and Flickr8k's captions, and descriptors.

use nic_data::{Dataset, Split};

use crate::{Files, records};

const COCO: &str = r#"{"info": {}, "annotations": [
    {"image_id": 2, "id": 7, "caption": "two"}, {"image_id": 1, "id": 8, "caption": "o\"ne"}, {"image_id": 2, "id": 9, "caption": "zwei"}
], "images": [{"id": 1, "file_name": "000000000001.jpg", "height": 2}, {"id": 2, "file_name": "000000000002.jpg"}, {"id": 3, "file_name": "3.jpg"}]}"#;

const COCO_TOML: &str = "name = 'c'\nformat = 'coco'\ncaptions = ['captions_train2014.json']\n";

#[test]
fn coco_splits_come_from_file_names_or_the_descriptor() {
    let other = COCO.replace("\"image_id\": ", "\"image_id\": 1").replace("\"id\": ", "\"id\": 1");
    let other = other.replace(".jpg", ".png");
    let files = Files::new(&[("captions_train2014.json", COCO), ("other.json", &other)]);
    let dataset = files.open(&format!("{COCO_TOML}[splits]\nval = ['other.json']")).unwrap();
    let one_file = |start: i64, split| {
        [
            (start + 1, split, vec!["o\"ne"]),
            (start + 2, split, vec!["two", "zwei"]),
            (start + 3, split, vec![]),
        ]
    };
    let expected = [one_file(10, Split::Val), one_file(0, Split::Train)].concat();
    assert_eq!(records(&dataset), expected);
    assert_eq!(dataset.name(), "c");
    let ids = |split| dataset.split(split).unwrap().iter().map(|r| r.id).collect::<Vec<_>>();
    assert_eq!((ids(Split::Train), ids(Split::Val)), (vec![1, 2, 3], vec![11, 12, 13]));

    let error = files.error("name = 'c'\nformat = 'coco'\ncaptions = ['other.json']");
    assert_eq!(
        error,
        "other.json: its name does not say which split it is: name it in [splits] train, val or test"
    );
}

#[test]
fn the_error_of_a_split_without_images_lists_those_there_are() {
    let files = Files::new(&[("captions_train2014.json", COCO)]);
    let error = files.open(COCO_TOML).unwrap().split(Split::Test).unwrap_err();
    assert_eq!(error.exit_code(), 2);
    assert_eq!(
        files.without_dir(&error),
        "dataset.toml: an image of split test is missing; images there are: train (3)"
    );
}

#[test]
fn coco_errors_name_file_and_entry() {
    let of = |json: &str| Files::new(&[("captions_train2014.json", json)]).error(COCO_TOML);
    assert_eq!(
        of(&COCO.replace("\"image_id\": 1", "\"image_id\": 4")),
        "captions_train2014.json: annotations[1]: image_id 4 is not in images"
    );
    assert_eq!(
        of(&COCO.replace("{\"id\": 2", "{\"id\": 1")),
        "captions_train2014.json: image id 1 comes twice"
    );
    assert_eq!(
        of(&COCO.replace("3.jpg", "000000000001.jpg")),
        "captions_train2014.json: file `000000000001.jpg` is that of image id 1 and of 3"
    );
    for name in ["../x.jpg", "/x.jpg", "a/../../x.jpg", "", ".", "a\\\\x.jpg"] {
        let error = of(&COCO.replace("3.jpg", name));
        assert!(error.ends_with("is not the name of a file inside an image directory"), "{error}");
    }
    assert_eq!(
        of(&COCO.replace("\"file_name\": \"3.jpg\"", "\"x\": 1")),
        "captions_train2014.json: missing field `file_name` at line 3 column 132"
    );
    let error = of("{\n\"images\": oops");
    assert!(
        error.starts_with("captions_train2014.json: expected value at line 2 column 11"),
        "{error}"
    );
    assert_eq!(of("{\"images\": []}"), "dataset.toml: the dataset has no image");
    let error = of("");
    assert!(error.starts_with("captions_train2014.json: EOF while parsing"), "{error}");
    let missing = Files::new(&[]).error(COCO_TOML);
    assert!(missing.starts_with("captions_train2014.json: the file is missing"), "{missing}");
}

const KARPATHY: &str = r#"{"dataset": "x", "images": [
    {"filename": "COCO_val2014_01.jpg", "filepath": "val2014", "cocoid": 1, "imgid": 0, "split": "restval",
     "sentences": [{"raw": "One.", "tokens": ["one"], "sentid": 5}], "sentids": [5]},
    {"filename": "1002_a.jpg", "imgid": 1, "split": "test", "sentences": []}]}"#;

const KARPATHY_TOML: &str = "name = 'k'\nformat = 'karpathy'\ncaptions = ['dataset.json']\n";

#[test]
fn karpathy() {
    let of = |json: &str| Files::new(&[("dataset.json", json)]);
    let dataset = of(KARPATHY).open(KARPATHY_TOML).unwrap();
    assert_eq!(records(&dataset), [(1, Split::Train, vec!["One."]), (1002, Split::Test, vec![])]);
    let error = of(&KARPATHY.replace("1002_a", "1_a")).error(KARPATHY_TOML);
    assert_eq!(error, "dataset.json: images[1]: image id 1 comes twice");
    let error = of(&KARPATHY.replace("1002_a", "a")).error(KARPATHY_TOML);
    assert_eq!(
        error,
        "dataset.json: images[1]: no cocoid, and no digits lead the filename `a.jpg`"
    );
    let error = of(&KARPATHY.replace("restval", "rest")).error(KARPATHY_TOML);
    assert_eq!(
        error,
        "dataset.json: images[0]: split is `rest`, expected train, restval, val or test"
    );
    for path in ["..", "../..", "/etc", "a/../.."] {
        let error =
            of(&KARPATHY.replace("\"val2014\"", &format!("\"{path}\""))).error(KARPATHY_TOML);
        assert!(error.contains("is not the name of a file inside"), "{path}: {error}");
    }
}

const TOKENS: &str = "1000_a.jpg#0\tA child .\r\n1000_a.jpg#1\tA girl\tgoes .\r\n\r\n\
    22_b.jpg.1#0\tTwo # dogs .\n3_c.jpg#0\tThree\n4_d.jpg#0\tUnlisted\n";

const FLICKR8K_TOML: &str = "name = 'f'\nformat = 'flickr8k'\ncaptions = ['tokens.txt']\n\
    [splits]\ntrain = ['train.txt']\nval = ['dev.txt']\ntest = ['test.txt']\n";

#[test]
fn flickr8k() {
    let of = |tokens: &str, train: &str| {
        Files::new(&[
            ("tokens.txt", tokens),
            ("train.txt", train),
            ("dev.txt", "3_c.jpg"),
            ("test.txt", "22_b.jpg\n"),
        ])
    };
    let dataset = of(TOKENS, "1000_a.jpg\r\n").open(FLICKR8K_TOML).unwrap();
    assert_eq!(
        records(&dataset),
        [
            (1000, Split::Train, vec!["A child .", "A girl\tgoes ."]),
            (3, Split::Val, vec!["Three"]),
            (22, Split::Test, vec!["Two # dogs ."]),
        ]
    );
    assert_eq!(dataset.left_out(), 1);

    let error = of(TOKENS, "1000_a.jpg\n5_e.jpg").error(FLICKR8K_TOML);
    assert_eq!(error, "train.txt: line 2: image `5_e.jpg` has no caption");
    let error = of(TOKENS, "1000_a.jpg\n1000_a.jpg").error(FLICKR8K_TOML);
    assert_eq!(error, "train.txt: line 2: image `1000_a.jpg` is listed twice");
    let error = of(&TOKENS.replace("\tThree", " Three"), "").error(FLICKR8K_TOML);
    assert_eq!(error, "tokens.txt: line 5: expected NAME#NUMBER, a tab and a caption");
    let error = of(TOKENS, "a.jpg").error(FLICKR8K_TOML);
    assert_eq!(error, "train.txt: line 1: no digits lead the name `a.jpg`");
    let error = of(TOKENS, "").error(&FLICKR8K_TOML.replace("'dev.txt'", "'gone.txt'"));
    assert!(error.starts_with("gone.txt: the file is missing"), "{error}");
    let error = of(TOKENS, "").error(&FLICKR8K_TOML[..FLICKR8K_TOML.find("[splits]").unwrap()]);
    assert!(error.starts_with("dataset.toml: format flickr8k needs [splits]"), "{error}");
}

#[test]
fn descriptor_errors() {
    let files = Files::new(&[]);
    let error = files.error("name = 'x'\nformat = 'coco'\nimage = []");
    assert!(
        error.starts_with(
            "dataset.toml: line 3, column 1: unknown key `image`; did you mean `images`?"
        ),
        "{error}"
    );
    let error = files.error("name = 'x'\nformat = 'kaparthy'");
    assert!(error.contains("unknown value `kaparthy`; did you mean `karpathy`?"), "{error}");
    let error = files.error("name = 'x'\nformat = 'coco'");
    assert_eq!(error, "dataset.toml: captions = [files] is missing");
    let error = files.error(&format!("{COCO_TOML}[columns]\nid = 'x'"));
    assert_eq!(error, "dataset.toml: [columns] goes with format parquet only");
    let error = files.error(&format!("{KARPATHY_TOML}[splits]\nval = ['x']"));
    assert!(
        error.starts_with("dataset.toml: [splits] does not go with format karpathy"),
        "{error}"
    );
    assert!(
        Dataset::open(&files.path("gone.toml"))
            .unwrap_err()
            .to_string()
            .contains("gone.toml: No such")
    );
}
