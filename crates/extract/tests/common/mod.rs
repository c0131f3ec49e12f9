//! A dataset, weights and the program, as a user has them.

#![allow(dead_code)] // each test program uses a part
#![allow(missing_docs, unreachable_pub, clippy::unwrap_used, clippy::panic)]

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;

use image::{ImageFormat, RgbImage};
use parquet::column::writer::ColumnWriter;
use parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use tempfile::TempDir;

/// fc7 of the narrow VGG16.
pub const DIM: usize = 24;

/// A directory with weights, images, captions and a descriptor.
pub struct Fixture {
    pub dir: TempDir,
}

impl Fixture {
    /// Nothing yet.
    pub fn empty() -> Self {
        Self { dir: TempDir::new().unwrap() }
    }

    /// `train` and `val` images, every third a PNG, the others JPEG.
    pub fn new(train: usize, val: usize) -> Self {
        let fixture = Self::empty();
        fixture.weights("vgg.safetensors", 1);
        let ids: Vec<i64> = (0..(train + val) as i64).map(|i| 100 + 7 * i).collect();
        fs::create_dir(fixture.path("images")).unwrap();
        for &id in &ids {
            let (name, format) = file(id);
            picture(id as u64).save_with_format(fixture.path("images").join(name), format).unwrap();
        }
        let (first, second) = ids.split_at(train);
        let mut captions = Vec::new();
        for (split, ids) in [("train", first), ("val", second)] {
            if !ids.is_empty() {
                let name = format!("captions_{split}2017.json");
                fixture.captions(&name, ids.iter().map(|&id| (id, file(id).0)));
                captions.push(name);
            }
        }
        fixture.descriptor("data.toml", "tiny", &captions, "images");
        fixture
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A COCO captions file.
    pub fn captions(&self, name: &str, images: impl Iterator<Item = (i64, String)>) {
        let images: Vec<_> = images.collect();
        let json = serde_json::json!({
            "images": images.iter().map(|(id, name)| serde_json::json!({
                "id": id, "file_name": name, "width": 10, "height": 10,
            })).collect::<Vec<_>>(),
            "annotations": images.iter().map(|(id, _)| serde_json::json!({
                "id": id * 10, "image_id": id, "caption": format!("picture number {id}"),
            })).collect::<Vec<_>>(),
        });
        fs::write(self.path(name), json.to_string()).unwrap();
    }

    pub fn descriptor(&self, file: &str, name: &str, captions: &[String], images: &str) {
        let toml = format!(
            "name = \"{name}\"\nformat = \"coco\"\ncaptions = {captions:?}\nimages = [\"{images}\"]\n"
        );
        fs::write(self.path(file), toml).unwrap();
    }

    /// A VGG16 of a few channels in torchvision's names, of seeded random numbers.
    pub fn weights(&self, name: &str, seed: u64) {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let mut tensors = BTreeMap::new();
        let mut add = |name: &str, shape: Vec<usize>| {
            let inputs: usize = shape[1..].iter().product();
            let bound = (6.0 / inputs as f32).sqrt();
            let mut data = |count: usize, bound: f32| -> Vec<u8> {
                (0..count).flat_map(|_| random.random_range(-bound..bound).to_le_bytes()).collect()
            };
            let (weight, bias) = (data(shape.iter().product(), bound), data(shape[0], 0.05));
            tensors.insert(format!("{name}.bias"), (vec![shape[0]], bias));
            tensors.insert(format!("{name}.weight"), (shape, weight));
        };
        let convolutions = [0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28];
        let mut channels = 3;
        for (number, width) in convolutions.into_iter().zip([4, 4, 4, 4, 6, 6, 6, 8, 8, 8, 8, 8, 8])
        {
            add(&format!("features.{number}"), vec![width, channels, 3, 3]);
            channels = width;
        }
        add("classifier.0", vec![DIM, channels * 7 * 7]);
        add("classifier.3", vec![DIM, DIM]);
        add("classifier.6", vec![10, DIM]);
        let views: BTreeMap<_, _> = tensors
            .iter()
            .map(|(name, (shape, data))| {
                (name.clone(), TensorView::new(Dtype::F32, shape.clone(), data).unwrap())
            })
            .collect();
        safetensors::serialize_to_file(views, None, &self.path(name)).unwrap();
    }

    /// A VGG16 of the paper's widths in torchvision's names, 553 MB of seeded random numbers that are never in memory all
    /// at once.
    pub fn full_weights(&self, name: &str) {
        let mut shapes = Vec::new();
        let convolutions = [0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28];
        let widths = [64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512];
        let mut channels = 3;
        for (number, width) in convolutions.into_iter().zip(widths) {
            shapes.push((format!("features.{number}"), vec![width, channels, 3, 3]));
            channels = width;
        }
        shapes.push(("classifier.0".into(), vec![4096, 512 * 7 * 7]));
        shapes.push(("classifier.3".into(), vec![4096, 4096]));
        shapes.push(("classifier.6".into(), vec![1000, 4096]));
        let (mut header, mut end) = (serde_json::Map::new(), 0);
        for (layer, shape) in &shapes {
            for (kind, shape) in [("weight", &shape[..]), ("bias", &shape[..1])] {
                let start = end;
                end += 4 * shape.iter().product::<usize>();
                let entry = serde_json::json!({
                    "dtype": "F32", "shape": shape, "data_offsets": [start, end],
                });
                header.insert(format!("{layer}.{kind}"), entry);
            }
        }
        let mut header = serde_json::Value::from(header).to_string();
        header.extend(std::iter::repeat_n(' ', header.len().next_multiple_of(8) - header.len()));
        let mut file = std::io::BufWriter::new(File::create(self.path(name)).unwrap());
        file.write_all(&(header.len() as u64).to_le_bytes()).unwrap();
        file.write_all(header.as_bytes()).unwrap();
        let mut random = ChaCha8Rng::seed_from_u64(1);
        for (_, shape) in &shapes {
            let count: usize = shape.iter().product();
            let bound = (6.0 / (count / shape[0]) as f32).sqrt();
            for (count, bound) in [(count, bound), (shape[0], 0.05)] {
                for _ in 0..count {
                    let value: f32 = random.random_range(-bound..bound);
                    file.write_all(&value.to_le_bytes()).unwrap();
                }
            }
        }
        file.flush().unwrap();
    }

    /// `count` images of a dataset: copies of `contents` in turn, each an encoded JPEG.
    pub fn repeat(&self, contents: &[Vec<u8>], count: usize) {
        fs::create_dir(self.path("images")).unwrap();
        let names = (1..=count as i64).map(|id| (id, format!("{id:012}.jpg")));
        for ((_, name), content) in names.clone().zip(contents.iter().cycle()) {
            fs::write(self.path("images").join(name), content).unwrap();
        }
        self.captions("captions_train2017.json", names);
        self.descriptor("data.toml", "repeated", &["captions_train2017.json".into()], "images");
    }

    /// `name`.zip with the files of `images`, as COCO packs its own: in a directory.
    pub fn zip(&self, name: &str, images: &[(i64, PathBuf)]) {
        let file = File::create(self.path(&format!("{name}.zip"))).unwrap();
        let mut archive = zip::ZipWriter::new(file);
        let stored = zip::write::SimpleFileOptions::default()
            .compression_method(zip::CompressionMethod::Stored);
        for (_, path) in images {
            let file = path.file_name().unwrap().to_str().unwrap();
            archive.start_file(format!("{name}/{file}"), stored).unwrap();
            archive.write_all(&fs::read(path).unwrap()).unwrap();
        }
        archive.finish().unwrap();
    }

    /// Parquet rows of id, image bytes and a caption, in row groups of 50.
    pub fn parquet(&self, name: &str, images: &[(i64, PathBuf)]) {
        let schema =
            "message rows { required int64 cocoid; required group image { required binary bytes; }
            required binary caption (UTF8); }";
        let schema = Arc::new(parse_message_type(schema).unwrap());
        let properties = Arc::new(WriterProperties::builder().build());
        let file = File::create(self.path(name)).unwrap();
        let mut writer = SerializedFileWriter::new(file, schema, properties).unwrap();
        for images in images.chunks(50) {
            let ids: Vec<i64> = images.iter().map(|image| image.0).collect();
            let bytes =
                images.iter().map(|image| ByteArray::from(fs::read(&image.1).unwrap())).collect();
            let captions = ids
                .iter()
                .map(|id| ByteArray::from(format!("picture {id}").into_bytes()))
                .collect();
            let mut columns: Vec<Vec<ByteArray>> = vec![captions, bytes];
            let mut group = writer.next_row_group().unwrap();
            while let Some(mut column) = group.next_column().unwrap() {
                match column.untyped() {
                    ColumnWriter::Int64ColumnWriter(_) => {
                        column.typed::<Int64Type>().write_batch(&ids, None, None).unwrap()
                    }
                    _ => {
                        let values = columns.pop().unwrap();
                        column.typed::<ByteArrayType>().write_batch(&values, None, None).unwrap()
                    }
                };
                column.close().unwrap();
            }
            group.close().unwrap();
        }
        writer.close().unwrap();
    }

    /// The program on `data.toml` and `vgg.safetensors`, into `out`.
    pub fn command(&self, out: &str) -> Command {
        let mut command = program();
        command
            .current_dir(self.dir.path())
            .args(["--dataset", "data.toml", "--weights", "vgg.safetensors", "--device", "cpu"])
            .args(["--out", out]);
        command
    }

    /// [`Fixture::command`] with `more` arguments, run.
    pub fn run(&self, out: &str, more: &[&str]) -> Output {
        self.command(out).args(more).output().unwrap()
    }

    /// The same, and must succeed; stdout.
    pub fn ok(&self, out: &str, more: &[&str]) -> String {
        let output = self.run(out, more);
        assert!(output.status.success(), "{}", stderr(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    /// The same, and must fail; exit status and stderr.
    pub fn fails(&self, out: &str, more: &[&str]) -> (i32, String) {
        let output = self.run(out, more);
        (output.status.code().unwrap(), stderr(&output))
    }

    /// Every file of a run's directory but the lock.
    pub fn files(&self, out: &str) -> BTreeMap<String, Vec<u8>> {
        let mut files = BTreeMap::new();
        for entry in fs::read_dir(self.path(out)).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            if name != ".lock" {
                files.insert(name, fs::read(path).unwrap());
            }
        }
        files
    }

    /// Image id to features, of all shards of a directory.
    pub fn features(&self, out: &str) -> HashMap<i64, Vec<f32>> {
        let files = self.files(out);
        files
            .iter()
            .filter(|(name, _)| name.ends_with(".safetensors"))
            .flat_map(|(_, bytes)| rows(bytes))
            .collect()
    }

    /// The lines of failed.jsonl.
    pub fn failed(&self, out: &str) -> Vec<serde_json::Value> {
        let text = fs::read_to_string(self.path(out).join("failed.jsonl")).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

/// Image id and features of a shard, f16 or f32, read without any code of ours.
pub fn rows(bytes: &[u8]) -> Vec<(i64, Vec<f32>)> {
    let file = SafeTensors::deserialize(bytes).unwrap();
    let (features, ids) = (file.tensor("features").unwrap(), file.tensor("image_id").unwrap());
    let (rows, dim) = (features.shape()[0], features.shape()[1]);
    assert_eq!((ids.shape(), ids.dtype()), (&[rows][..], Dtype::I64));
    let values: Vec<f32> = match features.dtype() {
        Dtype::F16 => numbers(features.data(), |b| half::f16::from_le_bytes(b).to_f32()),
        Dtype::F32 => numbers(features.data(), f32::from_le_bytes),
        other => panic!("features are {other:?}"),
    };
    assert_eq!(values.len(), rows * dim);
    let ids = numbers(ids.data(), i64::from_le_bytes);
    ids.into_iter().zip(values.chunks(dim.max(1)).map(<[f32]>::to_vec)).collect()
}

fn numbers<const N: usize, T>(data: &[u8], read: impl Fn([u8; N]) -> T) -> Vec<T> {
    data.chunks_exact(N).map(|chunk| read(chunk.try_into().unwrap())).collect()
}

pub fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_extract"));
    command.env("RAYON_NUM_THREADS", "2");
    // of a scheduler that the tests themselves may run under
    let scheduler = ["SLURM_ARRAY_", "JOB_COMPLETION_INDEX", "OMPI_COMM_WORLD_", "PMI_"];
    for (name, _) in std::env::vars_os() {
        if scheduler.iter().any(|prefix| name.to_string_lossy().starts_with(prefix)) {
            command.env_remove(name);
        }
    }
    command
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// The name of an image's file, and what it is.
pub fn file(id: i64) -> (String, ImageFormat) {
    match id % 3 {
        0 => (format!("{id:012}.png"), ImageFormat::Png),
        _ => (format!("{id:012}.jpg"), ImageFormat::Jpeg),
    }
}

/// Blocks of seeded colours, wider than high or the other way round.
pub fn picture(seed: u64) -> RgbImage {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let colours: [[u8; 3]; 16] = random.random();
    let (width, height) = if seed.is_multiple_of(2) { (320, 240) } else { (230, 300) };
    RgbImage::from_fn(width, height, |x, y| {
        let colour = colours[(4 * y / height * 4 + 4 * x / width) as usize];
        image::Rgb(colour.map(|value| value.wrapping_add((x % 8) as u8)))
    })
}

/// Other people's images for tests, where there are any.
pub fn test_data(test: &str) -> Option<PathBuf> {
    let data = std::env::var_os("NIC_TEST_DATA").map(PathBuf::from);
    if data.is_none() {
        let _ = writeln!(std::io::stderr(), "{test}: skipped, as NIC_TEST_DATA is not set");
    }
    data
}

/// A picture of this size as JPEG.
pub fn jpeg(width: u32, height: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    let picture =
        image::imageops::resize(&picture(1), width, height, image::imageops::FilterType::Triangle);
    let encoder = image::codecs::jpeg::JpegEncoder::new_with_quality(&mut bytes, 90);
    picture.write_with_encoder(encoder).unwrap();
    bytes
}

/// Photographs of COCO where there are any, else a picture of their size.
pub fn photographs() -> Vec<Vec<u8>> {
    let Some(data) = test_data("photographs") else { return vec![jpeg(640, 480)] };
    let dir = data.join("coco-mini/images/val2017");
    let mut paths: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}

/// `from` with all below it.
pub fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
    }
}
