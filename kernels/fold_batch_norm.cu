// Folds batch norms into the weights and biases of the convolutions beside them: every fold of a network in one launch.
//
//   s[c] = gamma[c] / sqrt(variance[c] + epsilon),   t[c] = beta[c] - mean[c] * s[c]
//   after a dense convolution      w'[o, ...] = w[o, ...] * s[o],          b'[o] = b[o] * s[o] + t[o]
//   after a depth-wise one         w'[tap, c] = w[tap, c] * s[c],          b'[c] = b[c] * s[c] + t[c]
//   before a dense one             w'[o, tap, i] = w[o, tap, i] * s[i],    b'[case, o] = b[o] + sum over taps inside, i of w[o, tap, i] * t[i]
//
// In front of a zero-padded 3x3 convolution the shift counts only for the taps inside the map, so the bias is a table of 16 border cases
// (bit 0: the row above is outside, bit 1: the row below; then the same for columns: case = 4 * rows + columns); in front of a 1x1
// convolution it is one row. Dense weights are [O][taps][I], depth-wise ones [taps][C]. Inputs and biases are fp32, folded weights fp32, f16
// or bf16 as their job says. Outputs overlap no input.
//
// Launch    a block of 128 threads for each output channel (dense) or each 128 channels (depth-wise); a job says which blocks are its own
// Shared    9.3 KiB
//
// One launch for a table of jobs in device memory, not one a fold: DWRSeg-B has about forty folds of a few KiB each, which would be forty
// launches that each leave most of the device idle. The table is written when a plan is made and holds no values, so folding again after
// a training step is this launch alone.
//
// Sums and products are fp64 with one rounding at the end, as on the CPU: a fold runs rarely, and folded weights must not depend on the
// device. Scale and shift are made once a block where that is possible, because most devices have few fp64 units.
//
// Bytes: weights once, folded weights once. Flops (fp64): one a weight, three in front of a convolution.
#include "types.cuh"

constexpr int THREADS = 128, TAPS = 9, PITCH = THREADS + 1;

enum Kind : i32
{
    DENSE,
    DEPTHWISE,
    INPUT,
};

enum Type : i32
{
    FLOAT32,
    FLOAT16,
    BFLOAT16,
};

struct Job
{
    const f32 *weights;
    const f32 *bias;
    const f32 *gamma;
    const f32 *beta;
    const f32 *mean;
    const f32 *variance;
    void *folded_weights;
    f32 *folded_bias;
    f32 epsilon;
    Kind kind;
    Type type;
    i32 outputs, taps, inputs;
    i32 first_block;
    i32 padding;
};

struct Arguments
{
    const Job *jobs;
    i32 count;
    i32 padding;
};

struct Norm
{
    f64 scale, shift;
};

__device__ inline Norm norm_of(const Job &j, i32 channel)
{
    Norm n;
    n.scale = f64(j.gamma[channel]) / sqrt(f64(j.variance[channel]) + f64(j.epsilon));
    n.shift = __dsub_rn(f64(j.beta[channel]), __dmul_rn(f64(j.mean[channel]), n.scale));
    return n;
}

__device__ inline f32 folded_bias(const Job &j, i32 channel, const Norm &n)
{
    f64 bias = j.bias ? __dmul_rn(f64(j.bias[channel]), n.scale) : 0;
    return f32(bias + n.shift);
}

__device__ inline void store_weight(const Job &j, i64 index, f32 value)
{
    if (j.type == FLOAT32) ((f32 *)j.folded_weights)[index] = value;
    else if (j.type == FLOAT16) ((f16 *)j.folded_weights)[index] = from_float<f16>(value);
#if __CUDA_ARCH__ >= 800
    else ((bf16 *)j.folded_weights)[index] = from_float<bf16>(value);
#endif
}

__device__ inline void fold_dense(const Job &j, i32 output)
{
    __shared__ Norm shared;
    if (threadIdx.x == 0)
    {
        shared = norm_of(j, output);
        j.folded_bias[output] = folded_bias(j, output, shared);
    }
    __syncthreads();
    f64 scale = shared.scale;
    i32 count = j.taps * j.inputs;
    for (i32 i = threadIdx.x; i < count; i += THREADS)
    {
        i64 index = i64(output) * count + i;
        store_weight(j, index, f32(j.weights[index] * scale));
    }
}

__device__ inline void fold_depthwise(const Job &j, i32 channel)
{
    if (channel >= j.outputs) return;
    Norm n = norm_of(j, channel);
    j.folded_bias[channel] = folded_bias(j, channel, n);
    for (i32 tap = 0; tap < j.taps; tap++)
    {
        i64 index = i64(tap) * j.outputs + channel;
        store_weight(j, index, f32(j.weights[index] * n.scale));
    }
}

// True where tap 0, 1 or 2 of an axis lies inside the map.
__device__ inline bool is_inside(i32 border_case, i32 tap)
{
    return tap == 1 || (border_case & (tap == 0 ? 1 : 2)) == 0;
}

__device__ inline void fold_input(const Job &j, i32 output)
{
    __shared__ f64 partial[TAPS * PITCH], shifted[TAPS];
    f64 sums[TAPS] = {};
    for (i32 i = threadIdx.x; i < j.inputs; i += THREADS)
    {
        Norm n = norm_of(j, i);
#pragma unroll
        for (int tap = 0; tap < TAPS; tap++)
        {
            if (tap >= j.taps) break;
            i64 index = (i64(output) * j.taps + tap) * j.inputs + i;
            f64 weight = j.weights[index];
            sums[tap] += weight * n.shift;
            store_weight(j, index, f32(weight * n.scale));
        }
    }
#pragma unroll
    for (int tap = 0; tap < TAPS; tap++) partial[tap * PITCH + threadIdx.x] = sums[tap];
    __syncthreads();
    if (threadIdx.x < TAPS)
    {
        f64 sum = 0;
        for (int i = 0; i < THREADS; i++) sum += partial[threadIdx.x * PITCH + i];
        shifted[threadIdx.x] = sum;
    }
    __syncthreads();
    i32 cases = j.taps == TAPS ? 16 : 1, border_case = threadIdx.x;
    if (border_case >= cases) return;
    f64 sum = j.bias ? f64(j.bias[output]) : 0;
    for (int tap = 0; tap < j.taps; tap++)
    {
        if (cases == 1 || (is_inside(border_case / 4, tap / 3) && is_inside(border_case % 4, tap % 3))) sum += shifted[tap];
    }
    j.folded_bias[border_case * j.outputs + output] = f32(sum);
}

extern "C" __global__ void __launch_bounds__(THREADS) fold_batch_norm(KERNEL_ARGUMENTS(Arguments) a)
{
    // The last job whose first block is not after this one.
    i32 low = 0, high = a.count - 1;
    while (low < high)
    {
        i32 middle = (low + high + 1) / 2;
        if (a.jobs[middle].first_block <= i32(blockIdx.x)) low = middle;
        else high = middle - 1;
    }
    const Job &j = a.jobs[low];
    i32 block = i32(blockIdx.x) - j.first_block;
    if (j.kind == DENSE) fold_dense(j, block);
    else if (j.kind == DEPTHWISE) fold_depthwise(j, block * THREADS + i32(threadIdx.x));
    else fold_input(j, block);
}
