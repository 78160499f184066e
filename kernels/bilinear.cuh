// One axis of a bilinear resampling with half-pixel centres (PyTorch's align_corners = false), rounded step by step as on the CPU:
//   position = max(0, (i + 1/2) * from / to - 1/2),   low = floor(position),   weight = position - low,
// and the value is in[low] + (in[min(low + 1, from - 1)] - in[low]) * weight.
#pragma once
#include "types.cuh"

struct BilinearTap
{
    i32 low, high;
    f32 weight;
};

// scale = from / to, divided on the host.
__device__ inline f32 bilinear_position(i32 index, f32 scale)
{
    // Not contracted to a fused multiply-add: that would move positions, and with them the winner of a near tie.
    return fmaxf(__fsub_rn(__fmul_rn(scale, f32(index) + 0.5f), 0.5f), 0);
}

__device__ inline BilinearTap bilinear_tap(i32 index, i32 from, f32 scale)
{
    f32 position = bilinear_position(index, scale);
    BilinearTap tap;
    tap.low = min(i32(position), from - 1);
    tap.high = min(tap.low + 1, from - 1);
    tap.weight = fminf(fmaxf(position - f32(tap.low), 0), 1);
    return tap;
}

__device__ inline f32 mix(f32 low, f32 high, f32 weight)
{
    return __fmaf_rn(__fsub_rn(high, low), weight, low);
}
