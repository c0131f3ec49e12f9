//! Input from an object store and output to one.

#![cfg(feature = "object-store")]
#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

mod common;
mod store;
use common::{Fixture, program, stderr};
use store::Store;

/// A fixture whose weights are in the store, so that shards are to the byte those of a run to a disk.
struct World {
    fixture: Fixture,
    store: Store,
}

impl World {
    fn new(test: &str, images: usize) -> Option<Self> {
        let store = Store::start(test)?;
        let fixture = Fixture::new(images, 0);
        store.client("put", "in/vgg.safetensors", Some(&fixture.path("vgg.safetensors")));
        fs::create_dir(fixture.path("cache")).unwrap();
        Some(Self { fixture, store })
    }

    fn told<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        self.store.told(command.current_dir(&self.fixture.dir)).env("XDG_CACHE_HOME", "cache")
    }

    /// Into `out`, a directory or a URL.
    fn command(&self, out: &str, more: &[&str]) -> Command {
        let mut command = program();
        self.told(&mut command)
            .args(["--dataset=data.toml", "--device=cpu", "--shard-size=4", "--out", out])
            .args(["--weights", &self.store.url("in/vgg.safetensors")])
            .args(more);
        command
    }

    fn run(&self, out: &str, more: &[&str]) -> Output {
        self.command(out, more).output().unwrap()
    }

    /// stdout.
    fn ok(&self, out: &str, more: &[&str]) -> String {
        let output = self.run(out, more);
        assert!(output.status.success(), "{}", stderr(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    fn merge(&self, out: &str) -> Output {
        self.told(program().args(["merge", out])).output().unwrap()
    }

    /// What boto3 finds below `name`.
    fn files(&self, name: &str) -> BTreeMap<String, Vec<u8>> {
        let there = self.fixture.path("there");
        self.store.client("get", name, Some(&there));
        let files = self.fixture.files("there");
        fs::remove_dir_all(there).unwrap();
        files
    }
}

#[test]
fn shards_below_a_prefix() {
    let Some(world) = World::new("shards_below_a_prefix", 18) else { return };
    fs::write(world.fixture.path("images/000000000107.jpg"), "no picture").unwrap();
    world.ok("whole", &[]);
    let whole = world.fixture.files("whole");
    let out = world.store.url("run/features");
    let said = world.ok(&out, &[]);
    assert!(said.contains(&format!("{out}: 17 images in shards: 5 (5 new)")), "{said}");
    assert!(said.trim_end().ends_with(&format!("failed: 1, see {out}/failed.jsonl")), "{said}");
    assert!(world.files("run/features") == whole);
    assert!(world.ok(&out, &[]).contains("nothing to do"));

    // one gone, one damaged, one of other images
    let shard = |index: usize| format!("run/features/features-0000{index}.safetensors");
    world.store.client("delete", &shard(0), None);
    let cut = world.fixture.path("cut");
    fs::write(&cut, &whole["features-00001.safetensors"][..700]).unwrap();
    world.store.client("put", &shard(1), Some(&cut));
    let other = world.fixture.path("whole/features-00003.safetensors");
    world.store.client("put", &shard(2), Some(&other));
    let output = world.run(&out, &[]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(stderr(&output).contains("2 of 5 shards are there already"), "{}", stderr(&output));
    let other = format!("{out}/features-00002.safetensors: holds other images");
    assert!(stderr(&output).contains(&other), "{}", stderr(&output));
    assert!(world.files("run/features") == whole);

    let output = world.run(&out, &["--dtype", "f32"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("dtype: f16 there, f32 now"), "{}", stderr(&output));
    let output = world.run("s3://no-such-bucket/x", &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("s3://no-such-bucket/x"), "{}", stderr(&output));
}

#[test]
fn workers_below_a_prefix() {
    let Some(world) = World::new("workers_below_a_prefix", 40) else { return };
    world.ok("whole", &[]);
    let out = world.store.url("shared");
    let start = |share: &str| {
        let mut command = world.command(&out, &["--worker", share]);
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    };
    let (mut first, mut second) = (start("0/2"), start("1/2"));
    let waiting = Instant::now();
    while !world.store.client("list", "shared", None).contains("features-00001") {
        if waiting.elapsed() > Duration::from_secs(120) {
            first.kill().unwrap();
            second.kill().unwrap();
            panic!("the first shard does not come");
        }
        sleep(Duration::from_millis(10));
    }
    second.kill().unwrap();
    second.wait().unwrap();
    assert!(first.wait().unwrap().success());
    world.store.client("delete", "shared/features-00009.safetensors", None);
    let output = world.merge(&out);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    let missing = "features-00009.safetensors, of worker 1/2: missing";
    assert!(stderr(&output).contains(missing), "{}", stderr(&output));
    assert!(!world.store.client("list", "shared", None).contains("index.json"));

    assert!(start("1/2").wait().unwrap().success());
    let output = world.merge(&out);
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(world.files("shared") == world.fixture.files("whole"));
    assert_eq!(world.merge(&world.store.url("nothing")).status.code(), Some(2));
}

#[test]
fn workers_agree_on_one_plan() {
    let Some(world) = World::new("workers_agree_on_one_plan", 8) else { return };
    for round in 0..3 {
        let out = world.store.url(&format!("plan{round}"));
        let start = |share: &str, dtype: &str| {
            let mut command = world.command(&out, &["--worker", share, "--dtype", dtype]);
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
        };
        let both = [start("0/2", "f16"), start("1/2", "f32")];
        let [first, second] = both.map(|child| child.wait_with_output().unwrap());
        let (refused, dtype) =
            if first.status.success() { (second, "f16") } else { (first, "f32") };
        assert_eq!(refused.status.code(), Some(2), "{}", stderr(&refused));
        assert!(stderr(&refused).contains("dtype: "), "{}", stderr(&refused));
        for share in ["0/2", "1/2"] {
            assert!(start(share, dtype).wait().unwrap().success());
        }
        assert!(world.merge(&out).status.success());
    }
}

#[test]
fn images_captions_and_weights_from_a_store() {
    let Some(world) = World::new("images_captions_and_weights_from_a_store", 11) else { return };
    let (fixture, store) = (&world.fixture, &world.store);
    world.ok("whole", &[]);
    let whole = fixture.files("whole");
    let mut images: Vec<(i64, PathBuf)> = fs::read_dir(fixture.path("images"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.file_stem().unwrap().to_str().unwrap().parse().unwrap(), path))
        .collect();
    images.sort();
    fixture.zip("packed", &images);
    fixture.parquet("train-00000-of-00002.parquet", &images[..6]);
    fixture.parquet("train-00001-of-00002.parquet", &images[6..]);
    store.client("put", "in/images", Some(&fixture.path("images")));
    for name in [
        "packed.zip",
        "captions_train2017.json",
        "train-00000-of-00002.parquet",
        "train-00001-of-00002.parquet",
    ] {
        store.client("put", &format!("in/{name}"), Some(&fixture.path(name)));
    }
    let coco = format!(
        "name = \"tiny\"\nformat = \"coco\"\ncaptions = [{:?}]\n",
        store.url("in/captions_train2017.json")
    );
    let rows = store.url("in/train-*.parquet");
    let descriptors = [
        ("prefix", format!("{coco}images = [{:?}]\n", store.url("in/images"))),
        ("zip", format!("{coco}images = [{:?}]\n", store.url("in/packed.zip"))),
        ("rows", format!("name = \"tiny\"\nformat = \"parquet\"\ncaptions = [{rows:?}]\n")),
    ];
    for (out, descriptor) in descriptors {
        fs::write(fixture.path("data.toml"), &descriptor).unwrap();
        world.ok(out, &[]);
        assert!(fixture.files(out) == whole, "{out}");
    }
    // a new version of an object takes the place of the one in the cache
    fixture.zip("packed", &images[1..]);
    store.client("put", "in/packed.zip", Some(&fixture.path("packed.zip")));
    let coco = format!("{coco}images = [{:?}]\n", store.url("in/packed.zip"));
    fs::write(fixture.path("data.toml"), coco).unwrap();
    world.ok("again", &[]);
    assert_eq!(fixture.failed("again").len(), 1);
    let gone = store.url("in/gone.safetensors");
    let output = world.told(program().args(["--dataset=data.toml", "--weights", &gone])).output();
    let output = output.unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    let missing = format!("error: {gone}: the file is missing");
    assert!(stderr(&output).contains(&missing), "{}", stderr(&output));
}

/// [`features_are_read_from_a_store`] runs this in a process of its own, whose variables name the server.
#[test]
#[ignore = "run by features_are_read_from_a_store"]
fn child() {
    let [url, dir] = ["URL", "DIR"].map(|name| std::env::var(name).unwrap());
    let open = |place: &str| nic_data::Features::open(Path::new(place)).unwrap();
    let (there, here) = (open(&url), open(&dir));
    there.verify().unwrap();
    let all: Vec<usize> = (0..here.len()).collect();
    let rows = |features: &nic_data::Features| {
        let rows = features.gather(&all, &candle_core::Device::Cpu).unwrap();
        rows.to_vec2::<f32>().unwrap()
    };
    assert_eq!((there.len(), there.dim()), (here.len(), here.dim()));
    assert_eq!(rows(&there), rows(&here));
}

#[test]
fn features_are_read_from_a_store() {
    let Some(world) = World::new("features_are_read_from_a_store", 9) else { return };
    let url = world.store.url("features");
    for more in [&[][..], &["--limit=5"]] {
        // the second time fewer: what is no longer there is not taken from the cache
        let dir = format!("out{}", more.len());
        world.ok(&dir, more);
        for name in world.store.client("list", "features", None).lines() {
            world.store.client("delete", &format!("features/{name}"), None);
        }
        world.store.client("put", "features", Some(&world.fixture.path(&dir)));
        let mut child = Command::new(std::env::current_exe().unwrap());
        world.told(child.args(["--exact", "child", "--ignored"]).env("URL", &url).env("DIR", &dir));
        let output = child.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        assert!(String::from_utf8_lossy(&output.stdout).contains("1 passed"));
    }
}
