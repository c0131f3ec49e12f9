//! Preprocessing against torchvision and Pillow (`golden/preprocess.py`).
#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use candle_core::{Device, IndexOp};
use nic_core::{Crop, Preprocess};
use sha2::{Digest, Sha256};

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

fn sized(resize: usize, crop: usize) -> Preprocess {
    Preprocess { resize, crop, ..Preprocess::default() }
}

/// The folder of real photographs and odd images; none, said plainly, where there is none.
fn real_data(test: &str) -> Option<PathBuf> {
    let dir = std::env::var_os("NIC_TEST_DATA").map(PathBuf::from);
    if dir.is_none() {
        let _ = writeln!(std::io::stderr(), "{test}: skipped, as NIC_TEST_DATA is not set");
    }
    dir
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = dir.read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

#[test]
fn crops_equal_torchvisions() {
    let expected =
        candle_core::safetensors::load(golden("preprocess.safetensors"), &Device::Cpu).unwrap();
    assert_eq!(expected.len(), 29);
    for (name, tensor) in expected {
        let words: Vec<&str> = name.split(' ').collect();
        let preprocess = Preprocess {
            exif_orientation: words.get(3) == Some(&"upright"),
            ..sized(words[1].parse().unwrap(), words[2].parse().unwrap())
        };
        let encoded = std::fs::read(golden("preprocess").join(words[0])).unwrap();
        let found = preprocess.crop(&encoded).unwrap().0;
        let expected: Vec<u8> = tensor.flatten_all().unwrap().to_vec1().unwrap();
        assert_eq!(found.len(), expected.len(), "{name}");
        let worst = found.iter().zip(&expected).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
        // JPEG and lossy WebP leave rounding to the decoder; everything else is exact.
        let bound = if name.contains(".jpg") || name.contains("photo.webp") { 2 } else { 0 };
        assert!(worst <= bound, "{name}: a byte differs by {worst}");
    }
}

#[test]
fn the_tensor_is_normalised_as_torchvision_does() {
    let preprocess = sized(2, 2);
    let first = Crop((0..12).map(|value| value * 20).collect());
    let second = Crop(vec![255; 12]);
    let tensor = preprocess.tensor(&[first, second], &Device::Cpu).unwrap();
    assert_eq!(tensor.dims(), [2, 3, 2, 2]);
    // T.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])(x) of
    // x = torch.arange(0, 240, 20).reshape(2, 2, 3).permute(2, 0, 1) / 255
    let expected = [
        -2.117_904,
        -1.090_418,
        -0.062_933_5,
        0.964_551_7,
        -1.685_574_3,
        -0.635_154_1,
        0.415_266_1,
        1.465_686_3,
        -1.107_276_7,
        -0.061_525_07,
        0.984_226_6,
        2.029_978_3,
    ];
    let found: Vec<f32> = tensor.i(0).unwrap().flatten_all().unwrap().to_vec1().unwrap();
    for (found, expected) in found.iter().zip(expected) {
        assert!((found - expected).abs() < 1e-6, "{found} {expected}");
    }
    let white: Vec<f32> = tensor.i((1, .., 0, 0)).unwrap().to_vec1().unwrap();
    assert_eq!(white, [(1.0 - 0.485) / 0.229, (1.0 - 0.456) / 0.224, (1.0 - 0.406) / 0.225f32]);
    assert_eq!(preprocess.tensor(&[], &Device::Cpu).unwrap().dims(), [0, 3, 2, 2]);
    let error = preprocess.tensor(&[Crop(vec![0; 11])], &Device::Cpu).unwrap_err().to_string();
    assert!(error.contains("11 bytes, expected 2 x 2 x 3"), "{error}");
}

#[test]
fn sizes_that_cannot_be_are_refused() {
    for (resize, crop, expected) in [
        (256, 257, "crop is 257, expected 1 to 256"),
        (256, 0, "crop is 0"),
        (0, 0, "resize is 0, expected 1 to"),
        (usize::MAX, 224, "resize is"),
    ] {
        let error = sized(resize, crop).crop(&[]).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
        assert_eq!(error.exit_code(), 2);
    }
    let zero = Preprocess { std: [0.2, 0.0, 0.2], ..Preprocess::default() };
    assert!(zero.check().unwrap_err().to_string().contains("std is [0.2, 0.0, 0.2]"));
    let nan = Preprocess { mean: [0.2, f32::NAN, 0.2], ..Preprocess::default() };
    assert!(nan.check().unwrap_err().to_string().contains("mean is [0.2, NaN, 0.2]"));
}

#[test]
fn what_is_no_image_has_a_reason() {
    let crop = |bytes: &[u8]| Preprocess::default().crop(bytes).unwrap_err().to_string();
    assert!(crop(b"").contains("it is empty"));
    assert!(crop(b"<html>404</html>").contains("not a JPEG, PNG, WebP, GIF or BMP file"));
    for name in
        ["down.png", "420.jpg", "progressive.jpg", "still.gif", "plain.bmp", "lossless.webp"]
    {
        let whole = std::fs::read(golden("preprocess").join(name)).unwrap();
        for length in [whole.len() / 3, whole.len() / 2, whole.len() * 9 / 10] {
            let error = Preprocess::default().crop(&whole[..length]);
            let error = error.expect_err(&format!("{name} cut to {length} bytes")).to_string();
            assert!(error.starts_with("cannot read the image: "), "{error}");
        }
    }
}

/// A PNG file of one IHDR chunk that claims `width` x `height`, RGBA of 16 bits, and an empty IDAT chunk.
fn claimed(width: u32, height: u32) -> Vec<u8> {
    fn chunk(kind: &[u8; 4], data: &[u8]) -> Vec<u8> {
        let mut crc = u32::MAX;
        for byte in kind.iter().chain(data) {
            crc ^= u32::from(*byte);
            for _ in 0..8 {
                crc = if crc & 1 == 1 { (crc >> 1) ^ 0xEDB8_8320 } else { crc >> 1 };
            }
        }
        let length = (data.len() as u32).to_be_bytes();
        [&length, kind.as_slice(), data, &(!crc).to_be_bytes()].concat()
    }
    let size = [width.to_be_bytes(), height.to_be_bytes()].concat();
    let header = [size.as_slice(), &[16, 6, 0, 0, 0]].concat();
    let signature = b"\x89PNG\r\n\x1a\n".as_slice();
    [signature, &chunk(b"IHDR", &header), &chunk(b"IDAT", &[]), &chunk(b"IEND", &[])].concat()
}

#[test]
fn absurd_sizes_are_refused_before_memory_is_asked_for() {
    let crop = |bytes: &[u8]| Preprocess::default().crop(bytes).unwrap_err().to_string();
    for (width, height) in [(30_000, 30_000), (2_000_000_000, 2_000_000_000)] {
        let error = crop(&claimed(width, height));
        assert!(
            error.contains("is more than 178956970 pixels") || error.contains("imit"),
            "{error}"
        );
    }
    let mut jpeg = std::fs::read(golden("preprocess").join("420.jpg")).unwrap();
    let frame = jpeg.windows(4).position(|bytes| bytes == [0xFF, 0xC0, 0, 17]).unwrap();
    jpeg[frame + 5..frame + 9].fill(0xFF);
    assert!(crop(&jpeg).contains("65535 x 65535 is more than 178956970 pixels"));
}

#[test]
fn real_odd_images_are_read_as_pillow_reads_them() {
    #[derive(serde::Deserialize)]
    struct Facts {
        sha256: String,
        mean: [f64; 3],
    }
    // 16-bit grey: Pillow clips at 255. Composed animations: transparent is black. A frame smaller than its canvas.
    const UNLIKE: [&str; 3] = ["16bpc-basi0g16.png", "anim.webp", "issue_1455_oversized.gif"];
    let Some(data) = real_data("real_odd_images_are_read_as_pillow_reads_them") else { return };
    let text = std::fs::read(golden("odd.json")).unwrap();
    let expected: BTreeMap<String, Facts> = serde_json::from_slice(&text).unwrap();
    assert_eq!(expected.len(), 61);
    for (name, facts) in expected {
        let encoded = std::fs::read(data.join("odd-images/valid").join(&name)).unwrap();
        let crop = Preprocess::default().crop(&encoded).unwrap().0;
        if UNLIKE.contains(&name.as_str()) {
            continue;
        }
        if name.ends_with(".jpg") {
            let mut mean = [0.0; 3];
            for (at, value) in crop.iter().enumerate() {
                mean[at % 3] += f64::from(*value) / (224.0 * 224.0);
            }
            let near = mean.iter().zip(facts.mean).all(|(a, b)| (a - b).abs() < 1.0);
            assert!(near, "{name}: mean {mean:?}, Pillow's {:?}", facts.mean);
        } else {
            let hash: String = Sha256::digest(&crop).iter().map(|b| format!("{b:02x}")).collect();
            assert_eq!(hash, facts.sha256, "{name}");
        }
    }
}

#[test]
fn corrupt_images_are_read_or_named_and_never_panic() {
    let Some(data) = real_data("corrupt_images_are_read_or_named_and_never_panic") else { return };
    let files = files(&data.join("odd-images/corrupt"));
    assert_eq!(files.len(), 108);
    let mut read = Vec::new();
    for file in &files {
        match Preprocess::default().crop(&std::fs::read(file).unwrap()) {
            Ok(crop) => {
                assert_eq!(crop.0.len(), 224 * 224 * 3);
                read.push(file.file_name().unwrap().to_string_lossy().into_owned());
            }
            Err(error) => {
                let text = error.to_string();
                assert!(text.len() > "cannot read the image: ".len(), "{file:?}: {text}");
                assert_eq!(error.exit_code(), 2, "{file:?}: {text}");
            }
        }
    }
    eprintln!("{} of 108 are read: {read:?}", read.len());
    assert!(read.len() <= 8);
}

#[test]
fn truncated_photographs_are_refused() {
    let Some(data) = real_data("truncated_photographs_are_refused") else { return };
    for file in files(&data.join("coco-mini/images/val2017")).iter().step_by(16) {
        let whole = std::fs::read(file).unwrap();
        assert!(Preprocess::default().crop(&whole).is_ok(), "{file:?}");
        for percent in [1, 10, 50, 90, 97] {
            let cut = &whole[..whole.len() * percent / 100];
            assert!(Preprocess::default().crop(cut).is_err(), "{file:?} cut to {percent} %");
        }
    }
}
