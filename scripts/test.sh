#!/usr/bin/env bash
# Builds and runs all tests. The emulated-GPU tests compile kernels with NVRTC, which is fetched first where none is installed. Where that
# fails too these tests are skipped; with DWRSEG_REQUIRE_NVRTC=1 it is an error.
#   scripts/test.sh [ARGUMENTS OF dotnet test...]
set -euo pipefail
cd "$(dirname "$0")/.."
warning=
if ! scripts/fetch-nvrtc.sh; then
    if [ "${DWRSEG_REQUIRE_NVRTC:-0}" != 0 ]; then
        echo "test: NVRTC could not be fetched and DWRSEG_REQUIRE_NVRTC is set; see above" >&2
        exit 1
    fi
    warning="test: WARNING: there is no NVRTC (see the top of this output), so the tests of the CUDA kernels were SKIPPED"
    echo "$warning" >&2
fi
status=0
dotnet test -c Release "$@" || status=$?
[ -z "$warning" ] || echo "$warning" >&2
exit "$status"
