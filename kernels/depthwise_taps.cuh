// The nine taps of a dilated 3x3 depth-wise convolution at the pixels that a thread of channel_parts.cuh goes over.
#pragma once
#include "channel_parts.cuh"

struct TapShape
{
    i32 height, width, dilation;
    // What a thread's next pixel lies further on, modulo the image.
    i32 row_step, column_step;
};

// Row and column of a pixel, kept up step by step: a division a pixel would cost as much as its products.
struct PixelPlace
{
    i32 row, column;

    __device__ inline PixelPlace(const TapShape &s, i64 pixel)
    {
        i32 in_image = i32(pixel % (i64(s.height) * s.width));
        row = in_image / s.width;
        column = in_image % s.width;
    }

    __device__ inline void advance(const TapShape &s)
    {
        column += s.column_step;
        row += s.row_step;
        if (column >= s.width) column -= s.width, row++;
        if (row >= s.height) row -= s.height;
    }

    // Whether the pixel that lies (dr, dc) dilations away, each -1, 0 or 1, is in the image.
    __device__ inline bool has(const TapShape &s, int dr, int dc) const
    {
        bool row_inside = dr == 0 || (dr < 0 ? row >= s.dilation : row < s.height - s.dilation);
        bool column_inside = dc == 0 || (dc < 0 ? column >= s.dilation : column < s.width - s.dilation);
        return row_inside && column_inside;
    }
};
