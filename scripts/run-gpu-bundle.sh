#!/usr/bin/env bash
# Runs what scripts/make-gpu-bundle.sh packed, on a machine with an NVIDIA GPU, its driver and CUDA's libraries; needs neither .NET nor a network.
#   scripts/run-gpu-bundle.sh ARCHIVE OUT [STEP...]
# Steps, all by default, what matters most first: environment start check training profile peers bench miou kernels tests convolutions sanitizer
# benchmarks
# Each writes its files to OUT; OUT/summary.tsv has a line a step: step, result, seconds. Exit code 1 where a step failed. A step whose tool or
# data is missing is skipped, and says so.
#   DWRSEG_CAMVID=DIR      a CamVid folder, for miou
#   DWRSEG_CUDA_PATH=DIR   where CUDA's libraries are, where they are in no usual place
#   DEVICE=emulated        the same on the PTX emulator, small: proves the bundle where there is no GPU (needs NVRTC)
#   STEP_SECONDS=N         the most that a step may take; default 300
#   TOTAL_SECONDS=N        the most that all may take; what is left then is skipped
set -uo pipefail
[ $# -ge 2 ] || { sed -n '2,13s/^# \{0,1\}//p' "$0" >&2; exit 2; }
# Paths before the folder changes.
[ -z "${DWRSEG_CAMVID:-}" ] || export DWRSEG_CAMVID=$(realpath "$DWRSEG_CAMVID")
[ -z "${DWRSEG_CUDA_PATH:-}" ] || export DWRSEG_CUDA_PATH=$(realpath "$DWRSEG_CUDA_PATH")
# Where PyTorch is, its NVIDIA packages are.
[ -n "${VIRTUAL_ENV:-}" ] || ! command -v python3 > /dev/null || export VIRTUAL_ENV=$(python3 -c 'import sys; print(sys.prefix)')
archive=$(realpath "$1") && mkdir -p "$2" && out=$(realpath "$2") || exit 2
shift 2
device=${DEVICE:-cuda}
limit=${STEP_SECONDS:-300}
[ "$device" = cuda ] || [ "$device" = emulated ] || { echo "run-gpu-bundle: DEVICE is cuda or emulated, not $device" >&2; exit 2; }

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# Where there is no xz, Python has one.
tar -C "$work" -xJf "$archive" 2>/dev/null ||
    python3 -c 'import sys, tarfile; tarfile.open(sys.argv[1]).extractall(sys.argv[2])' "$archive" "$work" ||
    { echo "run-gpu-bundle: $archive cannot be unpacked" >&2; exit 2; }
cd "$work/dwrseg-gpu" || exit 2
export DWRSEG_KERNEL_CACHE=${DWRSEG_KERNEL_CACHE:-$work/kernels} DWRSEG_TEST_DEVICE=$device DWRSEG_BENCH_DEVICE=$device
sizes="512x1024 768x1536" models="base large" batches="1 8" precisions="fp32 fp16 bf16"
if [ "$device" = emulated ]; then
    unset DWRSEG_TEST_DEVICE
    sizes=64x128 models=base batches=1 precisions="fp32 fp16"
fi

missing() { echo "$*" > "$out/$step.skipped"; return 77; }

environment() {
    cat revision
    uname -srm
    nproc
    if command -v nvidia-smi > /dev/null; then
        nvidia-smi
        nvidia-smi --query-gpu=name,driver_version,pstate,clocks.sm,clocks.mem,clocks.max.sm,power.limit,memory.total --format=csv
    fi
    ! command -v nvcc > /dev/null || nvcc --version
    ! command -v python3 > /dev/null || python3 -c 'import torch; print("PyTorch", torch.__version__, "CUDA", torch.version.cuda, "cuDNN", torch.backends.cudnn.version())' 2> /dev/null
    ldconfig -p 2> /dev/null | grep -E 'libcuda|libnvrtc|libcudnn|libcublasLt'
    ./dwrseg --version
}

tests() {
    local filters=(-trait "Device=Cuda")
    [ "$device" = cuda ] || filters=(-class "*ScaledCopyCudaTests" -class "*DepthwiseConvCudaTests" -class "*SirMmaCudaTests" -class "*CudaInferenceTests")
    ./DwrSeg.Native.Tests "${filters[@]}" -noColor -showLiveOutput -xml "$out/tests.xml"
}

check() {
    local status=0
    for precision in $precisions; do
        ./dwrseg check golden/eval*.safetensors --device "$device" --precision "$precision" || status=1
    done
    ./dwrseg check golden/train*.safetensors --device "$device" --precision fp32 || status=1
    return $status
}

# A training on the device, twice, which must give the same bits; and what a step takes, beside PyTorch's.
training() {
    local status=0 step_size=512x1024 step_batch=2 peer=() runs=(first second)
    [ "$device" = cuda ] || { step_size=64x64; runs=(first); }
    ./dwrseg scene --count 16 --out "$work/scenes" --seed 1 --size 180x240 && ./dwrseg scene --count 2 --out "$work/scenes" --seed 2 --split val --size 180x240 ||
        return 1
    for run in "${runs[@]}"; do
        rm -rf "$work/run-$run"
        ./dwrseg train --data "$work/scenes" --out "$work/run-$run" --device "$device" --epochs 1 --batch 4 --crop 64x96 --seed 1 || status=1
    done
    [ "$device" != cuda ] || cmp "$work/run-first/last.safetensors" "$work/run-second/last.safetensors" || status=1
    if [ "$device" = cuda ] && [ -d peers ] && python3 -c 'import sys, torch; sys.exit(not torch.cuda.is_available())' 2> /dev/null; then
        python3 peers/dwrseg_torch.py --device cuda --size $step_size --batch $step_batch --mode train --precision fp32 tf32 fp16 --execution eager \
            --seconds 1 --json "$out/peers-training.json" && peer=(--peer-json "$out/peers-training.json") || status=1
    fi
    ./dwrseg bench --train --device "$device" --size $step_size --batch $step_batch --seconds 2 --json "$out/bench-training.json" "${peer[@]}" || status=1
    return $status
}

# From the beginning of loading to the first class map, in a process that compiles and times everything and in the next one. What the first one made
# serves the steps that follow.
start() {
    local status=0 cache=$DWRSEG_KERNEL_CACHE counts
    [ -z "$(ls -A "$cache" 2> /dev/null)" ] || cache=$(mktemp -d -p "$work")
    for state in cold warm; do
        DWRSEG_KERNEL_CACHE=$cache ./dwrseg bench --device "$device" --model models/dwrseg-base-camvid.safetensors --size "${sizes%% *}" \
            --iterations 3 --json "$out/start-$state.json" || status=1
    done
    counts=$(grep -hoE '"(kernels|choices)[A-Za-z]+": [0-9]+' "$out/start-warm.json" | tr -d '"' | paste -sd, | sed 's/,/, /g')
    if ! grep -q '"kernelsFromDisk": [1-9]' "$out/start-warm.json"; then
        echo "the second process found no warm cache: $counts"
        status=1
    elif ! grep -q '"kernelCacheWarm": true' "$out/start-warm.json"; then
        # Without a library that fails, or memory that is short, some is chosen anew; that is no matter of the cache.
        echo "the second process did not find all: $counts"
        grep -q 'computed without' "$out/start.txt" || status=1
    fi
    return $status
}

# This project's kernels, cuDNN with cuBLASLt, and the choice between them: their results and their times.
convolutions() {
    [ "$device" = cuda ] || { missing "the emulator has no cuDNN"; return; }
    local status=0 choices="native cudnn auto" problem
    problem=$(./dwrseg check golden/eval-odd-size.safetensors --device cuda --conv cudnn 2>&1) || {
        echo "$problem"
        case $problem in *"not found"*) choices="native auto" ;; *) status=1 ;; esac
    }
    for choice in $choices; do for precision in $precisions; do
        ./dwrseg check golden/eval*.safetensors --device cuda --precision "$precision" --conv "$choice" || status=1
        for batch in $batches; do
            ./dwrseg bench --device cuda --size "${sizes%% *}" --batch "$batch" --precision "$precision" --conv "$choice" --seconds 2 \
                --json "$out/conv-$choice-$batch-$precision.json" || status=1
        done
    done; done
    return $status
}

# Each tool watches the kernels' own tests, and one whole network; what it finds goes to a file of its own.
sanitizer() {
    [ "$device" = cuda ] || { missing "compute-sanitizer needs a GPU; the emulator checks the same"; return; }
    command -v compute-sanitizer > /dev/null || { missing "no compute-sanitizer"; return; }
    local status=0 cut=0 code
    # Compiled before the tools' clocks run.
    DWRSEG_LINEINFO=1 ./dwrseg check golden/eval-odd-size.safetensors --device cuda --precision fp16 --conv native || return 1
    for tool in memcheck racecheck synccheck initcheck; do
        for target in kernels network; do
            local run=(./dwrseg check golden/eval-odd-size.safetensors --device cuda --precision fp16 --conv native)
            [ $target = network ] || run=(./DwrSeg.Native.Tests -class "*CudaTests" -noColor)
            DWRSEG_LINEINFO=1 timeout --foreground $((limit / 8)) compute-sanitizer --tool $tool --target-processes all --error-exitcode 9 \
                --log-file "$out/sanitizer-$tool-$target.txt" "${run[@]}" > "$out/sanitizer-$tool-$target-run.txt" 2>&1
            code=$?
            # Cut off is not passed: what it found until then counts, and that it did not end is said.
            local errors
            errors=$(grep -hE 'ERROR SUMMARY: [1-9]|========= (Invalid|Race|Uninitialized|Barrier)' "$out/sanitizer-$tool-$target.txt" | head -1)
            echo "$tool, $target: exit code $code$([ $code != 124 ] || echo ', cut off: not shown')${errors:+, $errors}"
            if [ $code = 124 ]; then cut=$((cut + 1)); elif [ $code != 0 ]; then status=1; fi
            [ -z "$errors" ] || status=1
        done
    done
    [ $cut -lt 8 ] || { echo "every run was cut off: give it more STEP_SECONDS"; status=1; }
    return $status
}

kernels() {
    local status=0
    for precision in $precisions; do
        ./dwrseg kernels --device "$device" --precision "$precision" --size "${sizes%% *}" --json "$out/kernels-$precision.json" || status=1
    done
    return $status
}

profile() {
    local status=0
    for precision in $precisions; do
        ./dwrseg profile --device "$device" --precision "$precision" --size "${sizes%% *}" \
            --json "$out/profile-$precision.json" --trace "$out/trace-$precision.json" || status=1
    done
    return $status
}

bench() {
    local status=0 files=("$out"/peers*.json) beside=()
    [ ! -e "${files[0]}" ] || beside=(--peer-json "${files[@]}")
    for model in $models; do for size in $sizes; do for batch in $batches; do for precision in $precisions; do
        ./dwrseg bench --device "$device" --model "$model" --size "$size" --batch "$batch" --precision "$precision" --seconds 2 \
            --json "$out/bench-$model-$size-$batch-$precision.json" "${beside[@]}" || status=1
    done; done; done; done
    return $status
}

peers() {
    [ -d peers ] || { missing "no peers in the bundle"; return; }
    python3 -c 'import torch' 2> /dev/null || { missing "no PyTorch"; return; }
    local torch_device=cuda status=0
    python3 -c 'import sys, torch; sys.exit(not torch.cuda.is_available())' || torch_device=cpu
    [ "$device" = emulated ] || [ $torch_device = cuda ] || { missing "PyTorch sees no GPU"; return; }
    if [ "$device" = emulated ]; then
        python3 peers/dwrseg_torch.py --device cpu --size $sizes --seconds 0.1 --json "$out/peers.json"
        return
    fi
    # The comparison that counts first; compiling takes most of the time, so all of it comes last.
    python3 peers/dwrseg_torch.py --device cuda --size 512x1024 --mode infer --precision fp16 --execution eager graph compiled compiled+graph \
        --seconds 1 --json "$out/peers-first.json" || status=1
    python3 peers/dwrseg_torch.py --device cuda --size 512x1024 --mode infer --precision fp16 --execution graph compiled+graph --fold \
        --seconds 1 --json "$out/peers-folded.json" || status=1
    for execution in eager graph compiled compiled+graph; do
        python3 peers/dwrseg_torch.py --device cuda --model $models --size $sizes --batch $batches --mode infer --precision fp16 fp32 tf32 \
            --execution $execution --seconds 0.5 --json "$out/peers-infer-$execution.json" || status=1
    done
    return $status
}

benchmarks() {
    local job=short
    [ "$device" = cuda ] || job=dry
    (cd "$work" && "$work/dwrseg-gpu/DwrSeg.Bench" --filter '*Cuda*' --job $job --exporters json --artifacts "$out/benchmarks")
}

miou() {
    [ -n "${DWRSEG_CAMVID:-}" ] || { missing "DWRSEG_CAMVID is not set"; return; }
    [ "$device" = cuda ] || { missing "hours on the emulator"; return; }
    local status=0
    for precision in $precisions; do
        ./dwrseg eval --data "$DWRSEG_CAMVID" --split test --model models/dwrseg-base-camvid.safetensors --device cuda --precision "$precision" \
            --json "$out/eval-$precision.json" || status=1
    done
    return $status
}

failures=0
: > "$out/summary.tsv"
export -f environment tests check training start convolutions sanitizer kernels profile bench peers benchmarks miou missing
export device limit sizes models batches precisions out work step
for step in ${*:-environment start check training profile peers bench miou kernels tests convolutions sanitizer benchmarks}; do
    declare -F "$step" > /dev/null || { echo "run-gpu-bundle: there is no step '$step'" >&2; exit 2; }
    rm -f "$out/$step.skipped"
    started=$SECONDS
    limit=${STEP_SECONDS:-300}
    if [ -n "${TOTAL_SECONDS:-}" ]; then
        [ $SECONDS -lt "$TOTAL_SECONDS" ] || { printf '%s\tskipped: no time left\t0\n' "$step" | tee -a "$out/summary.tsv"; continue; }
        [ $limit -le $((TOTAL_SECONDS - SECONDS)) ] || limit=$((TOTAL_SECONDS - SECONDS))
    fi
    timeout --kill-after=10 "$limit" bash -c "$step" > "$out/$step.txt" 2>&1
    code=$?
    case $code in
        0) result=passed ;;
        77) result="skipped: $(cat "$out/$step.skipped")" ;;
        124 | 137) result="cut off after $limit s" ;;
        *) result="failed: exit code $code" ;;
    esac
    [ $code = 0 ] || [ $code = 77 ] || failures=$((failures + 1))
    printf '%s\t%s\t%s\n' "$step" "$result" $((SECONDS - started)) | tee -a "$out/summary.tsv"
done
[ $failures = 0 ]
