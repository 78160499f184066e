#!/usr/bin/env bash
# Puts NVRTC and ptxas (CUDA 12.4) under .tools/cuda of this repository, without installing anything: the emulated-GPU tests compile
# the kernels for real. For a Debian machine that has neither; a machine with a CUDA toolkit needs none of this.
#   scripts/fetch-nvrtc.sh [FOLDER]      default: .tools/cuda
# The packages come from Debian's non-free component (suite trixie), through the mirror that this machine's apt is set up with.
set -euo pipefail
cd "$(dirname "$0")/.."
folder=${1:-.tools/cuda}
suite=trixie
stamp="$folder/.complete"
[ -f "$stamp" ] && exit 0

command -v apt-get >/dev/null && command -v dpkg >/dev/null ||
    { echo "fetch-nvrtc: needs apt-get and dpkg; elsewhere install NVRTC 12 (pip's nvidia-cuda-nvrtc-cu12 will do)" >&2; exit 1; }

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work"/{lists/partial,cache/archives/partial,sources,debs}

# The mirror: the first Debian archive that apt knows (deb822 or one-line style).
mirror=$( (cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources 2>/dev/null || true) |
    sed -nE 's/^URIs:[[:space:]]*([^[:space:]]+).*/\1/p; s/^deb[[:space:]]+(\[[^]]*\][[:space:]]+)?([^[:space:]]+).*/\2/p' |
    sed -nE '/\/debian\/?$/{p;q}')
[ -n "$mirror" ] || { echo "fetch-nvrtc: apt's sources name no Debian archive" >&2; exit 1; }
keyring=$(find /usr/share/keyrings -name 'debian-archive-keyring.*' | sort | head -n 1)
echo "deb [signed-by=$keyring arch=amd64] $mirror $suite non-free" > "$work/sources/nvrtc.list"

apt=(apt-get -qq -o Dir::Etc::SourceList=/dev/null -o Dir::Etc::SourceParts="$work/sources" -o Dir::State::Lists="$work/lists"
    -o Dir::Cache="$work/cache" -o APT::Sandbox::User=root -o Acquire::Languages=none -o Acquire::Retries=3 -o APT::Architecture=amd64)
"${apt[@]}" update
(cd "$work/debs" && "${apt[@]}" download libnvrtc12 libnvrtc-builtins12.4 nvidia-cuda-toolkit)

rm -rf "$folder"
mkdir -p "$folder/lib" "$folder/bin"
for deb in "$work"/debs/*.deb; do dpkg -x "$deb" "$work/root"; done
find "$work/root" \( -name 'libnvrtc*.so*' \) -exec cp -a {} "$folder/lib/" \;
for tool in ptxas cuobjdump nvdisasm; do
    find "$work/root" -type f -name "$tool" -exec cp {} "$folder/bin/" \; -quit
done
[ -e "$folder/lib/libnvrtc.so.12" ] && [ -x "$folder/bin/ptxas" ] ||
    { echo "fetch-nvrtc: the packages hold no libnvrtc.so.12 or no ptxas" >&2; exit 1; }
touch "$stamp"
echo "NVRTC and ptxas are in $folder"
