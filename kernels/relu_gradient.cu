// Gradient of y = max(x, 0) from its output:
//
//   dx[p, c] = y[p, c] <= 0 ? 0 : dy[p, c]   or is added to, with ACCUMULATE
//
// y, dy and dx are channel slices (pointer to the first channel, pixel stride) of maps with the same pixels, fp32 as all maps of training. dx may
// be dy, not overlap the others otherwise. Where y is a NaN, dy passes: what went wrong forward must not hide backward.
//
// Defines   WIDTH       channels a thread moves at once: 4 where all slices lie on 16 bytes, else 1
//           ACCUMULATE  0 or 1
// Launch    grid-stride over pixels, block (lanes over channels, pixels)
// Shared    none
//
// Bytes: y, dy and dx once; with ACCUMULATE dx twice. Flops: with ACCUMULATE 1 an element.
#include "overlap.cuh"
#include "types.cuh"

struct Arguments
{
    const f32 *y;
    const f32 *dy;
    f32 *dx;
    i64 pixels;
    i32 y_stride, dy_stride, dx_stride, channels;
};

extern "C" __global__ void __launch_bounds__(256) relu_gradient(KERNEL_ARGUMENTS(Arguments) a)
{
    begin_next();
    await_previous();
    i64 step = i64(gridDim.x) * blockDim.y;
    for (i64 p = i64(blockIdx.x) * blockDim.y + threadIdx.y; p < a.pixels; p += step)
    {
        for (i32 c = i32(threadIdx.x) * WIDTH; c < a.channels; c += i32(blockDim.x) * WIDTH)
        {
            f32 y[WIDTH], gradient[WIDTH];
            load(a.y + p * a.y_stride + c, y);
            load_plain(a.dy + p * a.dy_stride + c, gradient);
            f32 *target = a.dx + p * a.dx_stride + c;
#pragma unroll
            for (int i = 0; i < WIDTH; i++) gradient[i] = y[i] <= 0 ? 0 : gradient[i];
#if ACCUMULATE
            f32 old[WIDTH];
            load_plain<f32>(target, old);
#pragma unroll
            for (int i = 0; i < WIDTH; i++) gradient[i] += old[i];
#endif
            store_vector(target, gradient);
        }
    }
}
