// Gradient of a batch norm in training by its input, with what batch_norm_sums has left:
//
//   dx[p, c] = k[0][c] * dy[p, c] + k[1][c] * (x[p, c] - k[3][c]) + k[2][c]   or, with ACCUMULATE, that added to what is there
//
// x, dy and dx are channel slices (pointer to the first channel, pixel stride) of maps with the same pixels; k are fp32 rows, `pitch` apart. dx may
// be dy where their strides are equal, and otherwise overlap nothing.
//
// Defines   WIDTH       channels a thread moves at once: 4 where the slices allow, else 1
//           ACCUMULATE  0 or 1
// Launch    grid-stride over pixels, block (lanes over channels, pixels)
// Shared    none
//
// Bytes: x and dy once, dx once, or twice where it accumulates. Flops: 5 an element.
#include "overlap.cuh"
#include "types.cuh"

constexpr int PIXELS = 2;

struct Arguments
{
    const f32 *x;
    const f32 *dy;
    f32 *dx;
    const f32 *coefficients;
    i64 pixels;
    i32 x_stride, dy_stride, dx_stride, channels, pitch, padding;
};

extern "C" __global__ void __launch_bounds__(256) batch_norm_gradient(KERNEL_ARGUMENTS(Arguments) a)
{
    begin_next();
    await_previous();
    i64 step = i64(gridDim.x) * blockDim.y;
    for (i32 c = i32(threadIdx.x) * WIDTH; c < a.channels; c += i32(blockDim.x) * WIDTH)
    {
        f32 k[4][WIDTH];
#pragma unroll
        for (int i = 0; i < 4; i++) load(a.coefficients + i * a.pitch + c, k[i]);
        for (i64 first = i64(blockIdx.x) * blockDim.y + threadIdx.y; first < a.pixels; first += PIXELS * step)
        {
            f32 x[PIXELS][WIDTH], dy[PIXELS][WIDTH], dx[PIXELS][WIDTH] = {};
#pragma unroll
            for (int i = 0; i < PIXELS; i++)
            {
                i64 p = first + i * step;
                if (p >= a.pixels) break;
                load_plain(a.x + p * a.x_stride + c, x[i]);
                load_plain(a.dy + p * a.dy_stride + c, dy[i]);
#if ACCUMULATE
                load_plain(a.dx + p * a.dx_stride + c, dx[i]);
#endif
            }
#pragma unroll
            for (int i = 0; i < PIXELS; i++)
            {
                i64 p = first + i * step;
                if (p >= a.pixels) break;
#pragma unroll
                for (int w = 0; w < WIDTH; w++)
                    dx[i][w] += __fmaf_rn(dy[i][w], k[0][w], __fmaf_rn(x[i][w] - k[3][w], k[1][w], k[2][w]));
                store(a.dx + p * a.dx_stride + c, dx[i]);
            }
        }
    }
}
