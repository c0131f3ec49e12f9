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

# Input from object stores and output to one, against moto's S3 server (`pip install 'moto[server]'`)
test-object-store:
    cargo test --release --workspace --features object-store --test objects

# A CUDA toolkit from Python wheels, for machines without one: `eval "$(just cuda-toolkit DIR)"`
cuda-toolkit dir *args:
    @tools/cuda-toolkit.sh "$@"

# The programs with CUDA, to be copied to a machine with a card: in target/cuda, `gpu-check` beside the three
build-cuda:
    #!/usr/bin/env bash
    set -euo pipefail
    mkdir -p target/cuda
    # candle's kernels stand in a program once for each place that names them; the linker (LLVM's) folds them into one
    export RUSTFLAGS='-C link-arg=-Wl,--icf=all -C link-arg=-Wl,--ignore-data-address-equality'
    cargo build --release --features cudnn --bin extract --bin train --bin caption --bin gpu-check
    for program in extract train caption gpu-check; do
      strip -o "target/cuda/$program" "target/release/$program"
      if needed=$(readelf -d "target/cuda/$program" | grep -E 'NEEDED.*\[lib(cu|nv)'); then
        echo "$program does not start where these are missing: $needed" >&2
        exit 1
      fi
    done
    cp benches/peers/gpu.py benches/peers/train.py target/cuda
    git describe --always --dirty > target/cuda/commit || rm target/cuda/commit
    cd target/cuda
    du --bytes extract train caption gpu-check
    bytes=$(cat extract train caption | wc -c)
    echo "extract, train and caption: $((bytes >> 20)) MiB together"
    [ "$bytes" -lt $((64 << 20)) ]

# Is a GPU right, and as fast as PyTorch? Without Rust: `python3 gpu.py ./gpu-check` in a copy of target/cuda
gpu-check *args:
    cargo build --quiet --release --features '{{features}}' --bin gpu-check
    python3 benches/peers/gpu.py target/release/gpu-check "$@"

# Format, lints and documentation, as CI has them
lint:
    cargo fmt --all --check
    cargo clippy --release --workspace --all-targets -- --deny warnings
    RUSTDOCFLAGS='--deny warnings' cargo doc --release --workspace --no-deps

# Lints of the code for CUDA, which no card is needed for: `eval "$(just cuda-toolkit DIR)"` first
lint-cuda:
    cargo clippy --release --workspace --all-targets --features cudnn -- --deny warnings

# The program in examples/ that loads the demo's checkpoint through nic-core alone
example photo checkpoint="runs/demo/best":
    cargo run --release --manifest-path examples/caption-a-photo/Cargo.toml --target-dir target -- '{{checkpoint}}' '{{photo}}'
