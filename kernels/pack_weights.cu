// Prepares a convolution's fp32 weights [outputs][taps][inputs] for its kernel: narrowed to the maps' type, in the kernel's order, zero
// where the order has room for more than there is.
//
//   ROWS     y[o, tap, i]          inputs rounded up to 8: what conv_mma.cu, sir_mma.cu and dwr_sr_mma.cu read
//   COLUMNS  y[tap, i, o]          outputs rounded up to 4: what conv_ffma.cu reads
//   IMAGE    32 values an output, the nine of a line of taps as y[o, 8 ky + j] for j = 3 kx + i < 8 and y[o, 24 + 2 ky] for j = 8: what
//            conv_first.cu reads (3 inputs, 9 taps)
//
// Defines   ELEMENT  f32, f16 or bf16
// Launch    a thread an element of y, blocks of 256
//
// Runs when weights are loaded or changed, so it is simple: reads are consecutive for ROWS and IMAGE, writes always.
#include "types.cuh"

enum Order : i32
{
    ROWS,
    COLUMNS,
    IMAGE,
};

struct Arguments
{
    const f32 *x;
    ELEMENT *y;
    i64 elements;
    i32 outputs, taps, inputs;
    Order order;
};

extern "C" __global__ void __launch_bounds__(256) pack_weights(KERNEL_ARGUMENTS(Arguments) a)
{
    i64 index = i64(blockIdx.x) * 256 + threadIdx.x;
    if (index >= a.elements) return;
    i32 output, tap, input;
    if (a.order == ROWS)
    {
        i32 row = (a.inputs + 7) / 8 * 8;
        input = i32(index % row), tap = i32(index / row % a.taps), output = i32(index / row / a.taps);
    }
    else if (a.order == COLUMNS)
    {
        i32 row = (a.outputs + 3) / 4 * 4;
        output = i32(index % row), input = i32(index / row % a.inputs), tap = i32(index / row / a.inputs);
    }
    else
    {
        i32 place = i32(index % 32), line = place < 24 ? place / 8 : (place - 24) / 2, in_line = place < 24 ? place % 8 : 8;
        output = i32(index / 32), input = in_line % 3, tap = line * 3 + in_line / 3;
        if (place >= 24 && place % 2 == 1) tap = a.taps;
    }
    bool exists = output < a.outputs && tap < a.taps && input < a.inputs;
    store_one(a.y + index, exists ? load_one(a.x + (i64(output) * a.taps + tap) * a.inputs + input) : 0);
}
