// One value in every element of a channel slice:
//
//   y[p, c] = value
//
// y is a channel slice (pointer to the first channel, pixel stride), fp32 as all maps of training.
//
// Defines   WIDTH  channels a thread writes at once: 4 where the slice lies on 16 bytes, else 1
// Launch    grid-stride over pixels, block (lanes over channels, pixels)
// Shared    none
//
// Bytes: y once. Flops: none.
#include "overlap.cuh"
#include "types.cuh"

struct Arguments
{
    f32 *y;
    i64 pixels;
    i32 y_stride, channels;
    f32 value;
    i32 padding;
};

extern "C" __global__ void __launch_bounds__(256) fill(KERNEL_ARGUMENTS(Arguments) a)
{
    begin_next();
    await_previous();
    f32 values[WIDTH];
#pragma unroll
    for (int i = 0; i < WIDTH; i++) values[i] = a.value;
    i64 step = i64(gridDim.x) * blockDim.y;
    for (i64 p = i64(blockIdx.x) * blockDim.y + threadIdx.y; p < a.pixels; p += step)
    {
        for (i32 c = i32(threadIdx.x) * WIDTH; c < a.channels; c += i32(blockDim.x) * WIDTH) store_vector(a.y + p * a.y_stride + c, values);
    }
}
