// Order of 16-byte vectors within the rows of a tile in shared memory.
#pragma once
#include "types.cuh"

// Rows of 64 or 128 bytes keep their vectors in the order vector ^ row_key, so that eight neighbouring rows have the same vector in different
// banks: what ldmatrix reads at once. Rows 8 apart have the same key.
template <int ROW_VECTORS>
__device__ inline i32 row_key(i32 row)
{
    static_assert(ROW_VECTORS == 4 || ROW_VECTORS == 8, "rows of 64 or 128 bytes");
    return ROW_VECTORS == 8 ? row & 7 : row >> 1 & 3;
}
