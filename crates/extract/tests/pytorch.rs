//! The program's features against PyTorch's: see `golden/make.py`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // as in tests themselves

use std::fs;
use std::path::Path;

mod common;
use common::{Fixture, program, rows, stderr};

#[test]
fn fc7_is_pytorchs() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let fixture = Fixture::empty();
    let images = [(1, "000000000001.png"), (2, "000000000002.png"), (3, "000000000003.jpg")];
    fixture.captions(
        "captions_val2017.json",
        images.map(|(id, name)| (id, name.to_owned())).into_iter(),
    );
    let path = golden.join("images");
    fixture.descriptor(
        "data.toml",
        "golden",
        &["captions_val2017.json".to_owned()],
        path.to_str().unwrap(),
    );
    let output = program()
        .current_dir(fixture.dir.path())
        .args([
            "--dataset",
            "data.toml",
            "--device",
            "cpu",
            "--dtype",
            "f32",
            "--out",
            "out",
            "--weights",
        ])
        .arg(golden.join("vgg.safetensors"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", stderr(&output));

    let found = fixture.features("out");
    let expected = rows(&fs::read(golden.join("fc7.safetensors")).unwrap());
    // a crop alone; Pillow's resize; another JPEG decoder, up to 4 of 255 off: noise of 1 in every pixel makes 4.7e-2
    // in PyTorch itself, as a network this narrow averages little of it away
    for ((id, expected), bound) in expected.into_iter().zip([1e-5, 1e-3, 4.7e-2]) {
        let norm =
            |values: &mut dyn Iterator<Item = f32>| values.map(|v| v * v).sum::<f32>().sqrt();
        let difference = norm(&mut expected.iter().zip(&found[&id]).map(|(a, b)| a - b));
        let error = difference / norm(&mut expected.iter().copied());
        assert!(error <= bound, "image {id}: relative L2 error {error:e}");
    }
    assert_eq!(found.len(), 3);
}
