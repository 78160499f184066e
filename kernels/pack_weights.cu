// Prepares a convolution's fp32 weights for its kernel: narrowed to the maps' type, in the kernel's order, zero where the order has room for more
// than there is. Weight (output, tap, input) stands at x + output * output_step + tap * tap_step + input * input_step, so that weights lie as
// [outputs][taps][inputs], or are those of a transposed convolution.
//
//   TILES    y[o / rows, i / depth, tap, o % rows, i % depth]   whole tiles, and `chunks` of depth inputs: what conv_mma.cu, sir_mma.cu and
//            dwr_sr_mma.cu copy to shared memory as it stands, so the vectors of a row have their order there (swizzle.cuh)
//   COLUMNS  y[tap, i, o]          outputs rounded up to 4: what conv_ffma.cu and conv_first_ffma.cu read
//   IMAGE    32 values an output, the nine of a line of taps as y[o, 8 ky + j] for j = 3 kx + i < 8 and y[o, 24 + 2 ky] for j = 8: what
//            conv_first.cu reads (3 inputs, 9 taps)
//   POINTS   y[o / rows, i / depth, point, i % depth, o % rows]    of the 9 taps w the 16 points G w G^T of Winograd's F(2x2, 3x3), `chunks` of depth
//            inputs: what conv_winograd.cu, which has G, copies as it stands (fp32)
//
// Defines   ELEMENT  f32, f16 or bf16
// Launch    a thread an element of y, blocks of 256
//
// Runs when weights are loaded or changed, so it is simple: reads are nearly consecutive but for COLUMNS, POINTS and transposed weights,
// writes always.
#include "swizzle.cuh"

enum Order : i32
{
    TILES,
    COLUMNS,
    IMAGE,
    POINTS,
};

struct Arguments
{
    const f32 *x;
    ELEMENT *y;
    i64 elements, output_step, tap_step, input_step;
    i32 outputs, taps, inputs;
    Order order;
    i32 rows, depth, chunks;
};

__device__ inline f32 transformed(i32 row, f32 w0, f32 w1, f32 w2)
{
    if (row == 0) return w0;
    if (row == 3) return w2;
    return 0.5f * (row == 1 ? w0 + w1 + w2 : w0 - w1 + w2);
}

// A point of 3x3 weights, of which neighbours lie `step` apart.
__device__ inline f32 point_of(const f32 *w, i64 step, i32 point)
{
    f32 columns[3];
#pragma unroll
    for (int i = 0; i < 3; i++)
    {
        const f32 *line = w + i * 3 * step;
        columns[i] = transformed(point % 4, load_one(line), load_one(line + step), load_one(line + 2 * step));
    }
    return transformed(point / 4, columns[0], columns[1], columns[2]);
}

extern "C" __global__ void __launch_bounds__(256) pack_weights(KERNEL_ARGUMENTS(Arguments) a)
{
    i64 index = i64(blockIdx.x) * 256 + threadIdx.x;
    if (index >= a.elements) return;
    i32 output, tap, input;
    if (a.order == TILES)
    {
        i64 line = index / a.depth, tile = line / a.rows;
        i32 row = i32(line % a.rows), place = i32(index % a.depth), key = a.depth == 64 ? row_key<8>(row) : row_key<4>(row);
        output = i32(tile / a.taps / a.chunks) * a.rows + row, tap = i32(tile % a.taps);
        input = i32(tile / a.taps % a.chunks) * a.depth + (place ^ key * 8);
    }
    else if (a.order == COLUMNS)
    {
        i32 row = (a.outputs + 3) / 4 * 4;
        output = i32(index % row), input = i32(index / row % a.inputs), tap = i32(index / row / a.inputs);
    }
    else if (a.order == POINTS)
    {
        i64 line = index / a.rows, tile = line / (16 * a.depth);
        output = i32(tile / a.chunks) * a.rows + i32(index % a.rows), input = i32(tile % a.chunks) * a.depth + i32(line % a.depth);
        bool exists = output < a.outputs && input < a.inputs;
        const f32 *w = a.x + output * a.output_step + input * a.input_step;
        store_one(a.y + index, exists ? point_of(w, a.tap_step, i32(line / a.depth % 16)) : 0);
        return;
    }
    else
    {
        i32 place = i32(index % 32), line = place < 24 ? place / 8 : (place - 24) / 2, in_line = place < 24 ? place % 8 : 8;
        output = i32(index / 32), input = in_line % 3, tap = line * 3 + in_line / 3;
        if (place >= 24 && place % 2 == 1) tap = a.taps;
    }
    bool exists = output < a.outputs && tap < a.taps && input < a.inputs;
    store_one(a.y + index, exists ? load_one(a.x + output * a.output_step + tap * a.tap_step + input * a.input_step) : 0);
}
