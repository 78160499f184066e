// A linear convolution and the 1x1 convolution behind it as one:
//
//   w[o, t, i] = sum over m of b[o, m] * a[m, t, i],    bias[o] = bias_b[o] + sum over m of b[o, m] * bias_a[m]
//
// a is (middle, taps, inputs), b is (outputs, middle); everything is fp32 without gaps, and sums are fp32.
//
// Launch    grid (outputs), block 128: a block makes all weights and the bias of one output
// Shared    none
//
// Runs when weights change, on a few thousand values: nothing here is worth a tile.
#include "types.cuh"

struct Arguments
{
    const f32 *a;
    const f32 *bias_a;
    const f32 *b;
    const f32 *bias_b;
    f32 *weights;
    f32 *bias;
    i32 middle, columns;
};

extern "C" __global__ void __launch_bounds__(128) fold_pointwise(KERNEL_ARGUMENTS(Arguments) x)
{
    i32 output = blockIdx.x;
    const f32 *row = x.b + i64(output) * x.middle;
    for (i32 column = threadIdx.x; column <= x.columns; column += blockDim.x)
    {
        bool is_bias = column == x.columns;
        f32 sum = is_bias ? x.bias_b[output] : 0;
        for (i32 m = 0; m < x.middle; m++) sum = __fmaf_rn(row[m], is_bias ? x.bias_a[m] : x.a[i64(m) * x.columns + column], sum);
        if (is_bias) x.bias[output] = sum;
        else x.weights[i64(output) * x.columns + column] = sum;
    }
}
