#!/usr/bin/env bash
# A CUDA 13.0 toolkit from Python wheels: enough to compile and link nic, and to run it, where CUDA is not installed.
#
#   eval "$(tools/cuda-toolkit.sh DIR)"         (just cuda-toolkit DIR)
#
# DIR is made where it is missing: 1.7 GB in half a minute. Progress goes to stderr; stdout has the `export` lines alone
# (or, where it fails, `false`), so that the line above sets up the shell that calls it. Run again, it changes nothing
# and prints the same lines.
#
# candle's kernels for quantised models and mixtures of experts are nine tenths of the time that nvcc takes, and nothing
# here uses them: NVCC names a wrapper that compiles them to nothing. A program that does use them fails to link; for
# it, --quantized leaves the wrapper out (after `cargo clean --release --package candle-kernels`, whose cache does not
# see that nvcc is another).
#
# Needs python3 with pip, gcc with binutils (6 to 15) as nvcc's host compiler. The environment may set PYTHON, CC and
# CUDA_COMPUTE_CAP, the card that is compiled for: 90, the default, is Hopper and runs on nothing else; 89 is Ada,
# 86 and 80 Ampere, 120 and 100 Blackwell.
set -euo pipefail
# `eval "$(...)"` does not see this script's status: what it is given then must fail by itself.
trap '[ $? -eq 0 ] || echo false' EXIT

# All of one release. candle embeds its kernels as PTX, which the driver compiles when they are first used, and a driver
# refuses PTX of a newer toolkit than it knows: 13.0 asks for driver 580.
PINS=(
  nvidia-cuda-nvcc==13.0.88      # nvcc, cudafe++, ptxas, fatbinary
  nvidia-nvvm==13.0.88           # cicc and libdevice: nvcc's device compiler
  nvidia-cuda-crt==13.0.88       # headers that nvcc includes by itself
  nvidia-cuda-runtime==13.0.96   # cuda.h, cuda_runtime.h, libcudart
  nvidia-cuda-cccl==13.0.85      # libcu++, CUB and Thrust
  nvidia-cuda-nvrtc==13.0.88     # libnvrtc
  nvidia-curand==10.4.0.35       # libcurand
  nvidia-cublas==13.1.0.3        # libcublas, libcublasLt
  nvidia-cudnn-cu13==9.19.0.56   # libcudnn, cudnn.h
)
RELEASE=13.0
# cudarc's build script has it as 13000.
CUDARC_CUDA_VERSION=13000
# To be raised with every change of what `assemble` makes: older trees are then made again.
RECIPE=2

say() { printf 'cuda-toolkit: %s\n' "$*" >&2; }
die() {
  say "$*"
  exit 1
}

usage="usage: eval \"\$($0 DIR [--quantized])\""
[ $# -ge 1 ] && [ -n "$1" ] && [ "${1#-}" = "$1" ] || die "$usage"
case "${2:-}" in
  '') nvcc=bin-lean/nvcc ;;
  --quantized) nvcc=bin/nvcc ;;
  *) die "$usage" ;;
esac
python=${PYTHON:-python3}
cc=${CC:-gcc}
for tool in "$python" "$cc" ar sed; do
  command -v "$tool" >/dev/null || die "$tool is not on the PATH"
done

mkdir -p "$1"
top=$(cd "$1" && pwd -P)
wheels=$top/wheels
tree=$top/cuda
exec 9>"$top/.lock"
if command -v flock >/dev/null; then flock 9; fi

# In one go into a fresh directory: a second `pip install --target` skips, or replaces, the directory that the wheels
# share. The list above is whole, so pip must not choose (--no-deps).
install_wheels() {
  say "installing ${#PINS[@]} wheels (1.7 GB)"
  rm -rf "$wheels" "$wheels.part" "$tree"
  "$python" -m pip install --quiet --no-deps --no-compile --only-binary=:all: --disable-pip-version-check \
    --root-user-action=ignore --target "$wheels.part" "${PINS[@]}" >&2
  printf '%s' "${PINS[*]}" >"$wheels.part/.pins"
  mv "$wheels.part" "$wheels"
}
[ "$(cat "$wheels/.pins" 2>/dev/null || true)" = "${PINS[*]}" ] || install_wheels
cu=$wheels/nvidia/cu13
dnn=$wheels/nvidia/cudnn
[ -x "$cu/bin/nvcc" ] && [ -x "$cu/nvvm/bin/cicc" ] || die "no nvcc and cicc under $cu"
[ -e "$dnn/lib/libcudnn.so.9" ] || die "no libcudnn.so.9 under $dnn"

# Links are relative: DIR may be moved as a whole.
link_headers() { # directory, the same as seen from include
  local header
  for header in "$1"/*; do
    [ -e "$new/include/${header##*/}" ] || ln -s "$2/${header##*/}" "$new/include/"
  done
}
# The wheels have libcublas.so.13 alone, and the linker's -lcublas looks for libcublas.so.
link_libraries() { # directory, the same as seen from lib64
  local library name
  for library in "$1"/lib*.so.*; do
    [ -e "$library" ] || continue
    name=${library##*/}
    ln -s "$2/$name" "$new/lib64/$name"
    ln -sf "$name" "$new/lib64/${name%%.so.*}.so"
  done
}
# libcuda.so.1 comes with the driver, and linking needs no more than its names. cuda.h declares them, the older ones
# with __CUDA_API_VERSION_INTERNAL. Each function of the stub returns 34, CUDA_ERROR_STUB_LIBRARY.
make_stub() {
  local source=$new/lib64/stubs/cuda_stub.c count
  {
    "$cc" -x c -E -P -I"$cu/include" "$cu/include/cuda.h"
    "$cc" -x c -E -P -D__CUDA_API_VERSION_INTERNAL -I"$cu/include" "$cu/include/cuda.h"
  } | tr '\n' ' ' | sed 's/;/;\n/g' |
    sed -nE 's/^.*CUresult +(cu[A-Z][A-Za-z0-9_]*) *\(.*$/int \1(void) { return 34; }/p' |
    LC_ALL=C sort -u >"$source"
  count=$(wc -l <"$source")
  [ "$count" -ge 400 ] || die "only $count of the driver's functions found in cuda.h"
  "$cc" -shared -fPIC -O1 -w -fno-builtin -Wl,-soname,libcuda.so.1 -o "$new/lib64/stubs/libcuda.so.1" "$source"
  ln -s libcuda.so.1 "$new/lib64/stubs/libcuda.so"
}
# Beside bin, because candle's build takes the parent of nvcc's directory for the toolkit.
make_wrapper() {
  mkdir "$new/bin-lean"
  echo '// nothing' >"$new/bin-lean/quantized.cu"
  cat >"$new/bin-lean/nvcc" <<'WRAPPER'
#!/bin/sh
# nvcc, but with nothing in candle-kernels' libmoe.a and quantized.ptx.
here=$(dirname "$0")
compile= output= previous= last=
for argument; do
  [ "$argument" = -c ] && compile=1
  [ "$previous" = -o ] && output=$argument
  previous=$argument last=$argument
done
case "$compile ${last##*/}" in
  "1 mmq_"*.cu | "1 mmvq_gguf.cu" | "1 moe_"*.cu)
    exec "${CC:-gcc}" -x c -fPIC -c -o "$output" /dev/null ;;
  " quantized.cu")
    for argument; do
      shift
      [ "$argument" = "$last" ] && argument=$here/quantized.cu
      set -- "$@" "$argument"
    done ;;
esac
exec "$here/../bin/nvcc" "$@"
WRAPPER
  chmod +x "$new/bin-lean/nvcc"
}
assemble() {
  local library version
  new=$tree.part
  rm -rf "$new" "$tree"
  mkdir -p "$new/include" "$new/lib64/stubs"
  ln -s ../wheels/nvidia/cu13/bin "$new/bin"
  ln -s ../wheels/nvidia/cu13/nvvm "$new/nvvm"
  ln -s lib64 "$new/lib"
  link_headers "$cu/include" ../../wheels/nvidia/cu13/include
  link_headers "$dnn/include" ../../wheels/nvidia/cudnn/include
  link_libraries "$cu/lib" ../../wheels/nvidia/cu13/lib
  link_libraries "$dnn/lib" ../../wheels/nvidia/cudnn/lib
  make_stub
  make_wrapper
  for library in cublas cublasLt curand nvrtc cudnn; do
    [ -e "$new/lib64/lib$library.so" ] || die "no lib$library.so in $new/lib64"
  done
  version=$("$new/bin/nvcc" --version)
  case $version in
    *"release $RELEASE,"*) ;;
    *) die "nvcc is not of release $RELEASE: $version" ;;
  esac
  printf '%s' "$RECIPE" >"$new/.recipe"
  mv "$new" "$tree"
}
[ "$(cat "$tree/.recipe" 2>/dev/null || true)" = "$RECIPE" ] || assemble
say "ready: $tree"

# CUDA_HOME: where cudarc's build script looks for libraries, and a program of ours when it runs. cudarc and cudaforge
#   read the other three as well, and any that is left from another toolkit would be taken for this one.
# CUDARC_CUDA_VERSION: the bindings to compile. CUDA_COMPUTE_CAP: the card; without it nvidia-smi is asked.
# NVCC, CUDAFORGE_THREADS: the compiler, and how many run at once. NVCC_CCBIN: its host compiler, where CC is set.
# No LD_LIBRARY_PATH: lib64/stubs must never be on it where there is a driver.
emit() { printf 'export %s=%q\n' "$1" "$2"; }
for name in CUDA_HOME CUDA_PATH CUDA_ROOT CUDA_TOOLKIT_ROOT_DIR; do emit "$name" "$tree"; done
emit CUDARC_CUDA_VERSION "$CUDARC_CUDA_VERSION"
emit CUDA_COMPUTE_CAP "${CUDA_COMPUTE_CAP:-90}"
emit NVCC "$tree/$nvcc"
emit CUDAFORGE_THREADS "${CUDAFORGE_THREADS:-$(nproc 2>/dev/null || echo 2)}"
case ":$PATH:" in
  *":$tree/bin:"*) ;;
  *) printf 'export PATH=%q:"$PATH"\n' "$tree/bin" ;;
esac
if [ -n "${CC:-}" ]; then emit NVCC_CCBIN "$(command -v "$cc")"; fi
