// ReLU and sum of maps, for layers that no fused kernel took:
//
//   y[p, c] = act(a[p, c] + b[p, c])   with SUM, else act(a[p, c]);   act is ReLU or nothing
//
// a, b and y are channel slices (pointer to the first channel, pixel stride) of maps with the same pixels and one type. y may be a or b, not
// overlap them otherwise. A NaN stays one, as in PyTorch.
//
// Defines   ELEMENT  f32, f16 or bf16
//           WIDTH    channels a thread moves at once: 16 bytes where all slices allow, else 1
//           SUM, RELU  0 or 1
// Launch    grid-stride over pixels, block (lanes over channels, pixels)
// Shared    none
//
// Bytes: a, b and y once. Flops: 1 or 2 an element.
#include "overlap.cuh"
#include "types.cuh"

struct Arguments
{
    const ELEMENT *a;
    const ELEMENT *b;
    ELEMENT *y;
    i64 pixels;
    i32 a_stride, b_stride, y_stride, channels;
};

extern "C" __global__ void __launch_bounds__(256) elementwise(KERNEL_ARGUMENTS(Arguments) x)
{
    begin_next();
    await_previous();
    i64 step = i64(gridDim.x) * blockDim.y;
    for (i64 p = i64(blockIdx.x) * blockDim.y + threadIdx.y; p < x.pixels; p += step)
    {
        for (i32 c = i32(threadIdx.x) * WIDTH; c < x.channels; c += i32(blockDim.x) * WIDTH)
        {
            f32 values[WIDTH];
            load_plain(x.a + p * x.a_stride + c, values);
#if SUM
            f32 others[WIDTH];
            load_plain(x.b + p * x.b_stride + c, others);
#pragma unroll
            for (int i = 0; i < WIDTH; i++) values[i] += others[i];
#endif
#if RELU
#pragma unroll
            for (int i = 0; i < WIDTH; i++) values[i] = values[i] < 0 ? 0 : values[i];
#endif
            store_vector(x.y + p * x.y_stride + c, values);
        }
    }
}
