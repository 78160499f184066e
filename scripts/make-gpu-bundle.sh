#!/usr/bin/env bash
# Packs what scripts/run-gpu-bundle.sh needs on a machine with an NVIDIA GPU but without .NET and without a network: the tool, the tests and the
# benchmarks over one self-contained runtime, the model, recorded results, the PyTorch peer, and that script. Needs the .NET SDK.
#   scripts/make-gpu-bundle.sh [ARCHIVE]      default: artifacts/dwrseg-gpu.tar.xz
set -euo pipefail
cd "$(dirname "$0")/.."
archive=${1:-artifacts/dwrseg-gpu.tar.xz}
most=$((36 << 20))
export DOTNET_CLI_TELEMETRY_OPTOUT=1 DOTNET_NOLOGO=1

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
app=$work/dwrseg-gpu
dotnet publish -c Release -v quiet scripts/gpu-bundle -o "$app" -p:DebugType=none -p:GenerateDocumentationFile=false

# One runtime for three programs: each finds in its own settings what the publish wrote for the bundle's.
for program in dwrseg DwrSeg.Bench DwrSeg.Native.Tests; do
    cp "$app/GpuBundle.deps.json" "$app/$program.deps.json"
    cp "$app/GpuBundle.runtimeconfig.json" "$app/$program.runtimeconfig.json"
done
# Debuggers, profilers, other collectors, a disassembler; and of the recorded trainings all but one.
rm -f "$app"/GpuBundle* "$app"/*.pdb "$app"/*.xml "$app"/createdump "$app"/libmscor*.so "$app"/libclrgc*.so "$app"/libcoreclrtraceptprovider.so \
    "$app"/libcapstone.so
find "$app/golden" -name 'train*' ! -name train-odd-size.safetensors -delete
mkdir -p "$app/samples" && cp samples/street.png "$app/samples/"
cp scripts/run-gpu-bundle.sh "$app/run.sh"
[ ! -d bench/peers ] || cp -r bench/peers "$app/peers"
git rev-parse HEAD > "$app/revision" 2>/dev/null || echo unknown > "$app/revision"

mkdir -p "$(dirname "$archive")"
tar -C "$work" --owner=0 --group=0 -cf - dwrseg-gpu | xz -9e -T0 > "$archive.part"
mv "$archive.part" "$archive"
bytes=$(stat -c %s "$archive")
echo "$archive: $bytes bytes"
[ "$bytes" -le "$most" ] || { echo "make-gpu-bundle: more than $most bytes; find out what has grown" >&2; exit 1; }
