// Tensor-core products of 16-bit values with fp32 sums, and the shared-memory loads that feed them.
//
// A product is a 16x8 tile: c[4] += a[4] b[2], summed over 16 values. Lane l holds, with g = l / 4 and t = l % 4,
//   c     rows g and g + 8, columns 2t and 2t + 1:  (g, 2t) (g, 2t+1) (g+8, 2t) (g+8, 2t+1)
//   a     pairs along the sum, rows g and g + 8:    (g, 2t..) (g+8, 2t..) (g, 2t+8..) (g+8, 2t+8..)
//   b     pairs along the sum, column g:            (2t.., g) (2t+8.., g)
// so two neighbouring tiles of c, narrowed to pairs, are one a of the next product.
#pragma once
#include "async_copy.cuh"
#include "swizzle.cuh"

#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 750
// Four 8x8 matrices of 16-bit values: lane l gives the address of row l % 8 of matrix l / 8 (a multiple of 16 bytes) and gets, of each
// matrix, the pair at row l / 4, columns 2 (l % 4) and the next.
__device__ inline void load_matrices(u32 address, u32 (&matrices)[4])
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(matrices[0]), "=r"(matrices[1]), "=r"(matrices[2]), "=r"(matrices[3])
                 : "r"(address)
                 : "memory");
}

template <class T>
__device__ inline void multiply_add(f32 (&c)[4], const u32 (&a)[4], u32 b0, u32 b1);

template <>
__device__ inline void multiply_add<f16>(f32 (&c)[4], const u32 (&a)[4], u32 b0, u32 b1)
{
#if __CUDA_ARCH__ >= 800
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
#else
    // The halves of the sum one after the other: the lanes hold the same values.
    asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5}, {%6}, {%0, %1, %2, %3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(b0));
    asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5}, {%6}, {%0, %1, %2, %3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a[2]), "r"(a[3]), "r"(b1));
#endif
}

#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 800
template <>
__device__ inline void multiply_add<bf16>(f32 (&c)[4], const u32 (&a)[4], u32 b0, u32 b1)
{
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
#endif
#endif
