# nic: photographs in, sentences out. `just` lists what there is.

set positional-arguments

# Built for CUDA where its compiler is found; NIC_FEATURES= (empty) builds for the CPU alone.
features := env("NIC_FEATURES", `command -v nvcc >/dev/null && echo cudnn || true`)
# `--bin` alone, not `--package`: the whole workspace's features hold, so every program shares one build of each crate.
cargo := "cargo run --release --features '" + features + "' --bin"

_list:
    @just --list --unsorted

# The whole pipeline on a small world of our own, offline: ends with a table and runs/demo/captions.png
demo:
    cargo build --release --workspace --features '{{features}}'
    {{cargo}} extract -- --dataset datasets/shapes.toml --weights datasets/shapes/vgg16.safetensors --out features/shapes
    {{cargo}} train -- configs/demo.toml
    {{cargo}} caption -- generate --dataset datasets/shapes.toml --features features/shapes --checkpoint runs/demo/best --out runs/demo/results.json
    {{cargo}} shapes -- report --results runs/demo/results.json --picture runs/demo/captions.png

# All tests; with NIC_TEST_DATA set also those on real photographs and captions
test *args:
    cargo test --release --workspace "$@"

# fc7 of every image, once: without arguments all of COCO (`just extract --help`)
extract *args:
    {{cargo}} extract -- "$@"

# Fit the decoder to cached features: `just train configs/flickr8k.toml`
train *args:
    {{cargo}} train -- "$@"

# Say what photographs show: `just caption photo.jpg` (`just caption --help`)
caption *args:
    {{cargo}} caption -- "$@"

# Criterion's benchmarks (`just bench V=2541` for those with that in their names)
bench *args:
    cargo bench --workspace --bench '*' -- "$@"

# Turn by turn with PyTorch in one run (`--turns N --threads N`); needs Python with torch, torchvision and safetensors
bench-peers *args:
    cargo build --release --workspace
    python3 benches/peers/train.py target/release/train "$@"
    python3 benches/peers/vgg.py "$@"

# Format, lints and documentation, as CI has them
lint:
    cargo fmt --all --check
    cargo clippy --release --workspace --all-targets -- --deny warnings
    RUSTDOCFLAGS='--deny warnings' cargo doc --release --workspace --no-deps

# The program in examples/ that loads the demo's checkpoint through nic-core alone
example photo checkpoint="runs/demo/best":
    cargo run --release --manifest-path examples/caption-a-photo/Cargo.toml --target-dir target -- '{{checkpoint}}' '{{photo}}'
