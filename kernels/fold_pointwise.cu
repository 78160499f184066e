// Folds a linear convolution a and the 1x1 convolution b behind it into one convolution:
//
//   w'[o, i] = sum over m of b[o, m] * a[m, i],   b'[o] = bias_b[o] + sum over m of b[o, m] * bias_a[m]
//
// a is [middle][per_output] (taps and input channels of an output together), b is [outputs][middle]; all are fp32 but w', which is fp32, f16
// or bf16. Outputs overlap no input.
//
// Launch    a block of 128 threads for each output
// Shared    none
//
// Done once when weights change (the stem's first two convolutions: 27 weights, 32 in the middle), so it is written for exactness: sums in
// fp64, one rounding. A row of a is read in one piece by a warp; b's row is the same for all threads and comes from L1.
//
// Bytes: a once a block (from L2), b once, w' once. Flops (fp64): 2 * middle a folded weight.
#include "types.cuh"

constexpr int THREADS = 128;

enum Type : i32
{
    FLOAT32,
    FLOAT16,
    BFLOAT16,
};

struct Arguments
{
    const f32 *weights_a;
    const f32 *bias_a;
    const f32 *weights_b;
    const f32 *bias_b;
    void *folded_weights;
    f32 *folded_bias;
    i32 middle, per_output;
    Type type;
    i32 padding;
};

extern "C" __global__ void __launch_bounds__(THREADS) fold_pointwise(KERNEL_ARGUMENTS(Arguments) a)
{
    i32 output = blockIdx.x;
    const f32 *row = a.weights_b + i64(output) * a.middle;
    for (i32 i = threadIdx.x; i < a.per_output; i += THREADS)
    {
        f64 sum = 0;
        for (i32 m = 0; m < a.middle; m++) sum += __dmul_rn(f64(row[m]), f64(a.weights_a[i64(m) * a.per_output + i]));
        i64 index = i64(output) * a.per_output + i;
        f32 value = f32(sum);
        if (a.type == FLOAT32) ((f32 *)a.folded_weights)[index] = value;
        else if (a.type == FLOAT16) ((f16 *)a.folded_weights)[index] = from_float<f16>(value);
#if __CUDA_ARCH__ >= 800
        else ((bf16 *)a.folded_weights)[index] = from_float<bf16>(value);
#endif
    }
    if (threadIdx.x > 0) return;
    f64 bias = a.bias_b[output];
    for (i32 m = 0; m < a.middle; m++) bias += __dmul_rn(f64(row[m]), f64(a.bias_a[m]));
    a.folded_bias[output] = f32(bias);
}
