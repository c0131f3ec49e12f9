//! Feature shards, ours and what others may make.

use std::path::Path;

use candle_core::{DType, Device, Tensor};
use nic_core::{EncoderSpec, Preprocess};
use nic_data::{Features, Index, ShardHeader, read_shard_header, verify_shard, write_shard};
use safetensors::tensor::{Dtype, TensorView, serialize_to_file};

const DIM: usize = 3;

fn header() -> ShardHeader {
    ShardHeader {
        encoder: EncoderSpec {
            architecture: "vgg16".into(),
            layer: "fc7".into(),
            dim: DIM,
            weights: "../weights.safetensors".into(),
            weights_sha256: "00ff".into(),
            preprocess: Preprocess::default(),
        },
        dataset: "d".into(),
        failed: vec![(77, "cannot read the image: \"é\"".into())],
    }
}

/// `[N, 3]`: `id + column / 4`.
fn rows(ids: &[i64]) -> Tensor {
    let values = ids.iter().flat_map(|id| (0..DIM).map(move |k| *id as f32 + k as f32 / 4.0));
    Tensor::from_vec(values.collect::<Vec<_>>(), (ids.len(), DIM), &Device::Cpu).unwrap()
}

fn write(path: &Path, ids: &[i64]) {
    write_shard(path, &header(), ids, &rows(ids), DType::F16).unwrap();
}

fn open_error(path: &Path) -> String {
    let error = Features::open(path).unwrap_err();
    assert_eq!(error.exit_code(), 2, "{error}");
    error.to_string().replace(&format!("{}/", path.parent().unwrap().display()), "")
}

#[test]
fn placed_rows_are_those_of_the_files() {
    let dir = tempfile::tempdir().unwrap();
    let shard = |name: &str, ids: &[i64], dtype| {
        write_shard(&dir.path().join(name), &header(), ids, &rows(ids), dtype).unwrap();
    };
    shard("a.safetensors", &[5, 3], DType::F16);
    shard("b.safetensors", &[], DType::F16);
    shard("c.safetensors", &[9], DType::F16);
    for last in [DType::F16, DType::F32] {
        shard("d.safetensors", &[2, 11], last);
        let mut features = Features::open(dir.path()).unwrap();
        let chosen = [4, 0, 2, 2];
        let from_files = features.gather(&chosen, &Device::Cpu).unwrap();
        features.place(&Device::Cpu).unwrap();
        let placed = features.gather(&chosen, &Device::Cpu).unwrap();
        assert_eq!(placed.dtype(), DType::F32);
        assert_eq!(placed.to_vec2::<f32>().unwrap(), from_files.to_vec2::<f32>().unwrap());
        assert_eq!(
            placed.to_vec2::<f32>().unwrap(),
            rows(&[11, 5, 9, 9]).to_vec2::<f32>().unwrap()
        );
        assert_eq!(features.gather(&[], &Device::Cpu).unwrap().dims(), [0, DIM]);
        assert!(features.gather(&[5], &Device::Cpu).is_err());
    }
}

#[test]
fn what_is_written_is_read() {
    let dir = tempfile::tempdir().unwrap();
    for dtype in [DType::F16, DType::F32] {
        let path = dir.path().join(format!("{}.safetensors", dtype.as_str()));
        let ids = [5, -3, 1 << 40, 2];
        let features = rows(&[5, 3, 9, 2]);
        write_shard(&path, &header(), &ids, &features, dtype).unwrap();
        assert_eq!(read_shard_header(&path).unwrap(), header());
        assert_eq!(verify_shard(&path).unwrap(), header());
        // the library that everyone reads these files with
        let tensors = candle_core::safetensors::load(&path, &Device::Cpu).unwrap();
        assert_eq!(tensors["image_id"].to_vec1::<i64>().unwrap(), ids);
        assert_eq!(tensors["features"].dtype(), dtype);

        let found = Features::open(&path).unwrap();
        found.verify().unwrap();
        assert_eq!((found.len(), found.dim(), found.is_empty()), (4, DIM, false));
        assert_eq!(found.encoder(), Some(&header().encoder));
        let position = |id| found.position(id);
        assert_eq!(
            [position(5), position(-3), position(1 << 40), position(2), position(3)],
            [Some(0), Some(1), Some(2), Some(3), None]
        );
        let gathered = found.gather(&[3, 0, 3], &Device::Cpu).unwrap();
        assert_eq!(gathered.dtype(), DType::F32);
        assert_eq!(gathered.to_vec2::<f32>().unwrap(), rows(&[2, 5, 2]).to_vec2::<f32>().unwrap());
        assert_eq!(found.gather(&[], &Device::Cpu).unwrap().dims(), [0, DIM]);
        let error = found.gather(&[4], &Device::Cpu).unwrap_err().to_string();
        assert_eq!(error, "there is no feature row 4, only 4");
    }
}

#[test]
fn equal_arguments_give_equal_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let bytes = [1, 2].map(|run| {
        let path = dir.path().join(format!("{run}"));
        write(&path, &[1, 2, 3]);
        std::fs::read(path).unwrap()
    });
    assert_eq!(bytes[0], bytes[1]);
    let text = String::from_utf8_lossy(&bytes[0][8..]).into_owned();
    assert!(text.starts_with(r#"{"__metadata__":{"data_sha256":""#), "{text}");
    for (key, value) in [
        ("format", "nic-features-1"),
        ("encoder", "vgg16"),
        ("layer", "fc7"),
        ("weights_sha256", "00ff"),
    ] {
        assert!(text.contains(&format!("\"{key}\":\"{value}\"")), "{text}");
    }
}

#[test]
fn an_empty_shard_is_a_shard() {
    let dir = tempfile::tempdir().unwrap();
    write(&dir.path().join("0.safetensors"), &[]);
    write(&dir.path().join("1.safetensors"), &[4]);
    write(&dir.path().join("2.safetensors"), &[]);
    verify_shard(&dir.path().join("0.safetensors")).unwrap();
    let features = Features::open(dir.path()).unwrap();
    assert_eq!((features.len(), features.position(4)), (1, Some(0)));
    assert_eq!(
        features.gather(&[0], &Device::Cpu).unwrap().to_vec2::<f32>().unwrap(),
        [[4.0, 4.25, 4.5]]
    );
    assert!(Features::open(&dir.path().join("0.safetensors")).unwrap().is_empty());
}

#[test]
fn a_shard_is_not_written_from_what_does_not_fit() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.safetensors");
    let error = |ids: &[i64], features: &Tensor, dtype| {
        let error = write_shard(&path, &header(), ids, features, dtype).unwrap_err().to_string();
        assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 0);
        error.replace(&format!("{}/", dir.path().display()), "")
    };
    assert_eq!(
        error(&[1], &rows(&[1, 2]), DType::F16),
        "a.safetensors: features is 2 rows wide 3, expected 1 rows wide 3"
    );
    assert_eq!(error(&[1, 1], &rows(&[1, 2]), DType::F16), "a.safetensors: image 1 comes twice");
    let large = (rows(&[1, 2]) * 40000.0).unwrap();
    assert_eq!(
        error(&[1, 2], &large, DType::F16),
        "a.safetensors: image 2: feature 0 is 80000, which is not finite as f16"
    );
    let nan = (rows(&[0, 1]) / 0.0).unwrap();
    assert!(error(&[1, 2], &nan, DType::F32).contains("image 1: feature 0 is NaN"));
    assert_eq!(error(&[1], &rows(&[1]), DType::BF16), "features are f16 or f32, not bf16");
}

/// A full disk: the temporary file is a link to the device that is always full.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.safetensors");
    std::os::unix::fs::symlink("/dev/full", dir.path().join("a.safetensors.tmp")).unwrap();
    let error = write_shard(&path, &header(), &[1], &rows(&[1]), DType::F16).unwrap_err();
    assert_eq!(error.exit_code(), 1);
    assert_eq!(
        error.to_string(),
        format!("{}: No space left on device (os error 28)", path.display())
    );
    assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 0);
}

#[test]
fn a_changed_byte_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.safetensors");
    write(&path, &[1, 2]);
    let mut bytes = std::fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&path, bytes).unwrap();
    assert!(verify_shard(&path).unwrap_err().to_string().contains("the tensors' SHA-256 is "));
    assert!(Features::open(&path).unwrap().verify().unwrap_err().to_string().contains("SHA-256"));
}

#[test]
fn an_index_says_what_belongs() {
    let dir = tempfile::tempdir().unwrap();
    let names = ["shard-0.safetensors".to_owned(), "shard-1.safetensors".to_owned()];
    write(&dir.path().join(&names[0]), &[1, 2]);
    write(&dir.path().join(&names[1]), &[3]);
    write(&dir.path().join("other.safetensors"), &[1]);
    let error = open_error(dir.path());
    assert!(
        error.ends_with("shard-0.safetensors: image 1 is here and in ")
            || error.contains("image 1 is here and in"),
        "{error}"
    );

    let index = Index::of(dir.path(), &names).unwrap();
    assert_eq!((index.format, index.rows, index.dim, index.dtype.as_str()), (1, 3, DIM, "f16"));
    index.write(dir.path()).unwrap();
    assert_eq!(Index::load(dir.path()).unwrap(), index);
    let features = Features::open(dir.path()).unwrap();
    features.verify().unwrap();
    assert_eq!((features.len(), features.position(3)), (3, Some(2)));
    assert_eq!(features.encoder(), Some(&index.encoder));

    // another run's shard in the place of one that is listed
    write(&dir.path().join(&names[1]), &[9]);
    let features = Features::open(dir.path()).unwrap();
    assert!(features.verify().unwrap_err().to_string().contains("as index.json says"));
    write(&dir.path().join(&names[1]), &[3, 4]);
    let error = open_error(dir.path());
    assert!(
        error.ends_with("the number of images is 2, expected 1, as index.json says"),
        "{error}"
    );
    std::fs::remove_file(dir.path().join(&names[1])).unwrap();
    let error = open_error(dir.path());
    assert!(error.contains("shard-1.safetensors: No such file"), "{error}");

    let text = std::fs::read_to_string(dir.path().join(Index::FILE)).unwrap();
    for (from, to, reason) in [
        ("\"rows\": 3", "\"rows\": 4", "rows is 4, expected 3, the sum over its shards"),
        ("\"format\": 1", "\"format\": 2", "format is 2, expected 1"),
        ("shard-1", "../shard-1", "`../shard-1.safetensors` is not the name of a file beside it"),
        ("{", "{{", "key must be a string at line 1 column 2"),
    ] {
        std::fs::write(dir.path().join(Index::FILE), text.replacen(from, to, 1)).unwrap();
        let error = open_error(dir.path());
        assert!(error.ends_with(reason), "{error}");
    }
    assert!(Index::of(dir.path(), &[]).unwrap_err().to_string().contains("at least one shard"));
}

#[test]
fn shards_must_fit_together() {
    let dir = tempfile::tempdir().unwrap();
    write(&dir.path().join("0.safetensors"), &[1]);
    let second = dir.path().join("1.safetensors");

    let mut other = header();
    other.encoder.weights_sha256 = "abcd".into();
    write_shard(&second, &other, &[2], &rows(&[2]), DType::F16).unwrap();
    let error = open_error(dir.path());
    assert!(
        error.contains("1.safetensors: made by another encoder than the shards before: "),
        "{error}"
    );
    assert!(error.contains("abcd"), "{error}");

    other = header();
    other.encoder.dim = 1;
    let narrow = Tensor::ones((1, 1), DType::F32, &Device::Cpu).unwrap();
    write_shard(&second, &other, &[2], &narrow, DType::F16).unwrap();
    let error = open_error(dir.path());
    assert!(error.contains("1.safetensors: features' width D is 1, expected 3, as in "), "{error}");

    // only the place of the weights differs
    other = header();
    other.encoder.weights = "elsewhere".into();
    write_shard(&second, &other, &[2], &rows(&[2]), DType::F32).unwrap();
    assert_eq!(Features::open(dir.path()).unwrap().len(), 2);

    let empty = tempfile::tempdir().unwrap();
    let error = Features::open(empty.path()).unwrap_err().to_string();
    assert!(error.contains("a shard (*.safetensors) is missing"), "{error}");
    let error = Features::open(&empty.path().join("gone")).unwrap_err().to_string();
    assert!(error.contains("gone: No such file"), "{error}");
}

/// A file made with the safetensors library.
fn foreign(path: &Path, tensors: &[(&str, Dtype, &[usize], &[u8])]) {
    let views = tensors.iter().map(|(name, dtype, shape, data)| {
        (*name, TensorView::new(*dtype, shape.to_vec(), data).unwrap())
    });
    serialize_to_file(views, None, path).unwrap();
}

#[test]
fn features_made_elsewhere() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.safetensors");
    let values: Vec<u8> = [1f32, 2.0, 3.0, 4.0].iter().flat_map(|v| v.to_le_bytes()).collect();
    let ids: Vec<u8> = [8i64, 7].iter().flat_map(|v| v.to_le_bytes()).collect();
    let features = ("features", Dtype::F32, &[2, 2][..], &values[..]);
    let image_id = ("image_id", Dtype::I64, &[2][..], &ids[..]);
    foreign(&path, &[features, image_id]);
    let found = Features::open(&path).unwrap();
    assert_eq!((found.encoder(), found.position(7)), (None, Some(1)));
    assert_eq!(found.gather(&[1], &Device::Cpu).unwrap().to_vec2::<f32>().unwrap(), [[3.0, 4.0]]);
    assert!(
        read_shard_header(&path)
            .unwrap_err()
            .to_string()
            .contains("metadata `format` = `nic-features-1` is missing")
    );

    let error = |tensors: &[_]| {
        foreign(&path, tensors);
        open_error(&path)
    };
    assert_eq!(
        error(&[image_id]),
        "a.safetensors: tensor `features` is missing; there are: image_id"
    );
    assert_eq!(
        error(&[features]),
        "a.safetensors: tensor `image_id` is missing; there are: features"
    );
    let wrong = ("features", Dtype::I32, &[2, 2][..], &values[..]);
    assert_eq!(error(&[wrong, image_id]), "a.safetensors: features is I32, expected F16 or F32");
    let wrong = ("features", Dtype::F32, &[2, 2, 1][..], &values[..]);
    assert_eq!(error(&[wrong, image_id]), "a.safetensors: features is [2, 2, 1], expected [N, D]");
    let wrong = ("image_id", Dtype::I32, &[2][..], &ids[..8]);
    assert_eq!(
        error(&[features, wrong]),
        "a.safetensors: image_id is I32 [2], expected I64 [2], as features is [2, 2]"
    );
    let wrong = ("image_id", Dtype::I64, &[1][..], &ids[..8]);
    assert_eq!(
        error(&[features, wrong]),
        "a.safetensors: image_id is I64 [1], expected I64 [2], as features is [2, 2]"
    );
    let twice = [&ids[..8], &ids[..8]].concat();
    let wrong = ("image_id", Dtype::I64, &[2][..], &twice[..]);
    assert_eq!(error(&[features, wrong]), "a.safetensors: image 8 is here and in a.safetensors");
    let empty = ("features", Dtype::F32, &[2, 0][..], &[][..]);
    assert_eq!(
        error(&[empty, image_id]),
        "a.safetensors: features' width D is 0, expected at least 1"
    );
}

#[test]
fn what_is_cut_off_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.safetensors");
    write(&path, &[1, 2, 3]);
    let bytes = std::fs::read(&path).unwrap();
    for length in 0..bytes.len() {
        std::fs::write(&path, &bytes[..length]).unwrap();
        let error = open_error(&path);
        assert!(
            error.starts_with("a.safetensors: not a whole safetensors file: "),
            "{length}: {error}"
        );
    }
}
