#!/usr/bin/env bash
# Builds and runs all tests. The emulated-GPU tests compile kernels with NVRTC, which is fetched first where it is missing.
#   scripts/test.sh [ARGUMENTS OF dotnet test...]
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/fetch-nvrtc.sh || { echo "test: NVRTC could not be fetched; see above" >&2; exit 1; }
exec dotnet test -c Release "$@"
