// How the warps of a block share a tile of WARPS_M x WARPS_N parts, of pixels and channels. Needs both defined, and WGMMA: the four warps of a
// warpgroup, which have neighbouring numbers, share the pixels of one product and so must differ in WARPS_M.
#pragma once
#include "types.cuh"

__device__ inline i32 part_m()
{
    i32 warp = threadIdx.x / 32;
#if WGMMA
    return warp % WARPS_M;
#else
    return warp / WARPS_N;
#endif
}

__device__ inline i32 part_n()
{
    i32 warp = threadIdx.x / 32;
#if WGMMA
    return warp / WARPS_M;
#else
    return warp % WARPS_N;
#endif
}
