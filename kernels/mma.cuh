// Tensor-core pieces for sm_80 and up: 8x8 matrices of 16-bit values from shared memory to registers (ldmatrix) and the warp-wide product
// D (16 x 8, fp32) += A (16 x 16) * B (16 x 8) of f16 or bf16 (mma.sync.m16n8k16).
//
// Register layout, with group = lane / 4 and pair = lane % 4 * 2:
//   A: a[0] rows group,     depths pair, pair + 1        a[1] rows group + 8, same depths
//      a[2] rows group,     depths pair + 8, pair + 9    a[3] rows group + 8, same depths
//   B: b[0] depths pair, pair + 1 of column group        b[1] depths pair + 8, pair + 9
//   D: d[0], d[1] row group, columns pair, pair + 1      d[2], d[3] row group + 8
#pragma once
#include "async_copy.cuh"

// Four matrices of 8 rows of 16 bytes; lanes 8*i to 8*i+7 give the rows of matrix i.
__device__ inline void load_matrices(const void *row, u32 (&matrices)[4])
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(matrices[0]), "=r"(matrices[1]), "=r"(matrices[2]), "=r"(matrices[3])
                 : "r"(shared_address(row))
                 : "memory");
}

__device__ inline void multiply_add(f16, f32 (&d)[4], const u32 (&a)[4], u32 b0, u32 b1)
{
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

__device__ inline void multiply_add(bf16, f32 (&d)[4], const u32 (&a)[4], u32 b0, u32 b1)
{
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
