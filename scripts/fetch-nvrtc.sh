#!/usr/bin/env bash
# Puts NVRTC and ptxas (CUDA 12.4) under .tools/cuda of this repository, without installing anything: the emulated-GPU tests compile
# the kernels for real. Does nothing where an NVRTC is installed that the library finds: a CUDA toolkit's or pip's.
#   scripts/fetch-nvrtc.sh             into .tools/cuda, where none is installed
#   scripts/fetch-nvrtc.sh FOLDER      into that folder, in any case
# The packages come from Debian's non-free component (suite trixie), through the mirror that this machine's apt is set up with.
set -euo pipefail
cd "$(dirname "$0")/.."
folder=${1:-.tools/cuda}
suite=trixie
stamp="$folder/.complete"
[ -f "$stamp" ] && exit 0

# Where the library looks (NativeLibrarySearch), in its order.
installed_nvrtc() {
    local folder known prefix version
    local -a folders=("${DWRSEG_CUDA_PATH:-}"{,/lib64,/lib} "${CUDA_HOME:-}"/{lib64,lib} "${CUDA_PATH:-}"/{lib64,lib} /usr/local/cuda*/lib64)
    for prefix in "${VIRTUAL_ENV:-}" "${CONDA_PREFIX:-}" "${HOME:-}/.local" /usr/local /usr /opt/conda; do
        folders+=("$prefix"/lib/python3*/{site,dist}-packages/nvidia/{cu13,cuda_nvrtc}/lib)
    done
    known=$(PATH="$PATH:/usr/sbin:/sbin" ldconfig -p 2>/dev/null || true)
    for version in 13 12 11.2; do
        grep -oE "/[^ ]*/libnvrtc\.so\.$version\$" <<< "$known" && return
        for folder in "${folders[@]}"; do
            # Variables that are not set leave folders of the root, which hold none.
            [ -e "$folder/libnvrtc.so.$version" ] && { echo "$folder/libnvrtc.so.$version"; return; }
        done
    done
    return 1
}
if [ $# -eq 0 ] && found=$(installed_nvrtc); then
    echo "NVRTC is installed: $found"
    exit 0
fi

command -v apt-get >/dev/null && command -v dpkg >/dev/null ||
    { echo "fetch-nvrtc: no NVRTC is installed, and getting one takes apt-get and dpkg; install it (pip install nvidia-cuda-nvrtc-cu12)" >&2; exit 1; }

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work"/{lists/partial,cache/archives/partial,sources,debs}

# The mirror: the first Debian archive that apt knows (deb822 or one-line style).
mirror=$( (cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources 2>/dev/null || true) |
    sed -nE 's/^URIs:[[:space:]]*([^[:space:]]+).*/\1/p; s/^deb[[:space:]]+(\[[^]]*\][[:space:]]+)?([^[:space:]]+).*/\2/p' |
    sed -nE '/\/debian\/?$/{p;q}')
[ -n "$mirror" ] ||
    { echo "fetch-nvrtc: no NVRTC is installed, and apt's sources name no Debian archive; install it (pip install nvidia-cuda-nvrtc-cu12)" >&2; exit 1; }
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
