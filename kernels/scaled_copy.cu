// Copy of a channel slice with an affine map per channel and a change of type:
//
//   y[p, c] = factor * x[p, c],   or where scale is not null   y[p, c] = (factor * x[p, c]) * scale[c] + shift[c]
//
// x and y are slices (pointer to the first channel, pixel stride) of maps with the same pixels; scale and shift are fp32 and null together.
// y may be x where types and strides are equal; otherwise they must not overlap.
//
// Defines   SOURCE, TARGET  f32, f16 or bf16
//           WIDTH           channels a thread moves at once: 16 bytes of the wider type where slices and channels allow, else 1
// Launch    grid-stride over pixels, block (lanes over channels, pixels)
// Shared    none
//
// Nothing is used twice, so a thread only has to keep enough loads under way: four pixels before the first store.
//
// Bytes: x once, y once. Flops: 1 to 3 an element.
#include "overlap.cuh"
#include "types.cuh"

constexpr int PIXELS = 4;

struct Arguments
{
    const SOURCE *x;
    TARGET *y;
    const f32 *scale;
    const f32 *shift;
    i64 pixels;
    i32 x_stride, y_stride, channels;
    f32 factor;
};

extern "C" __global__ void __launch_bounds__(256) scaled_copy(KERNEL_ARGUMENTS(Arguments) a)
{
    begin_next();
    await_previous();
    i64 step = i64(gridDim.x) * blockDim.y;
    for (i32 c = i32(threadIdx.x) * WIDTH; c < a.channels; c += i32(blockDim.x) * WIDTH)
    {
        f32 scale[WIDTH], shift[WIDTH];
        if (a.scale)
        {
            load(a.scale + c, scale);
            load(a.shift + c, shift);
        }
        for (i64 first = i64(blockIdx.x) * blockDim.y + threadIdx.y; first < a.pixels; first += PIXELS * step)
        {
            f32 values[PIXELS][WIDTH];
#pragma unroll
            for (int p = 0; p < PIXELS; p++)
            {
                if (first + p * step < a.pixels) load_plain(a.x + (first + p * step) * a.x_stride + c, values[p]);
            }
#pragma unroll
            for (int p = 0; p < PIXELS; p++)
            {
                if (first + p * step >= a.pixels) break;
#pragma unroll
                for (int i = 0; i < WIDTH; i++)
                {
                    values[p][i] *= a.factor;
                    if (a.scale) values[p][i] = __fmaf_rn(values[p][i], scale[i], shift[i]);
                }
                store(a.y + (first + p * step) * a.y_stride + c, values[p]);
            }
        }
    }
}
