/* Data that only moves: transposes, and values side by side. */
#ifndef FIRNLINE_PORTABLE_MOVE_H
#define FIRNLINE_PORTABLE_MOVE_H

#include "firnline_axes.h"

FIRNLINE_KERNEL void firnline_copy(const void *from, void *to, uint32_t bytes)
{
    const uint8_t *const source = (const uint8_t *)from;
    uint8_t *const target = (uint8_t *)to;
    for (uint32_t i = 0u; i < bytes; i++) {
        target[i] = source[i];
    }
}

/* The result's axes, outermost first; step[i] is in elements of the input. */
typedef struct {
    uint32_t extent[FIRNLINE_AXES];
    uint32_t step[FIRNLINE_AXES];
    uint32_t bytes; /* of an element: 1 or 4 */
} firnline_transpose;

/* Along the innermost axis of the result. */
FIRNLINE_INLINE void firnline_transpose_line(const firnline_transpose *how, const uint8_t *source,
                                             uint8_t *target)
{
    const uint32_t step = how->step[FIRNLINE_LAST_AXIS] * how->bytes;
    uint32_t length = how->extent[FIRNLINE_LAST_AXIS];
    if (how->bytes == 1u) {
        for (; length > 0u; length--) {
            *target = *source;
            target++;
            source = &source[step];
        }
    } else {
        for (; length > 0u; length--) {
            firnline_copy(source, target, 4u);
            target = &target[4];
            source = &source[step];
        }
    }
}

FIRNLINE_KERNEL void firnline_transpose_run(const firnline_transpose *how, const void *x, void *y)
{
    const uint32_t line = how->extent[FIRNLINE_LAST_AXIS] * how->bytes;
    uint32_t index[FIRNLINE_AXES] = {0u};
    const uint8_t *const source = (const uint8_t *)x;
    uint8_t *target = (uint8_t *)y;
    do {
        const uint32_t place = firnline_element(how->step, index);
        firnline_transpose_line(how, &source[place * how->bytes], target);
        target = &target[line];
    } while (firnline_next(how->extent, index) != 0u);
}

/* `count` runs of `run` bytes, to every `stride` bytes of y. */
FIRNLINE_KERNEL void firnline_concat(uint32_t count, uint32_t run, uint32_t stride, const void *x,
                                     void *y)
{
    const uint8_t *source = (const uint8_t *)x;
    uint8_t *target = (uint8_t *)y;
    for (uint32_t i = 0u; i < count; i++) {
        firnline_copy(source, target, run);
        source = &source[run];
        target = &target[stride];
    }
}

/* The same, through a table. */
FIRNLINE_KERNEL void firnline_concat_table(const int8_t *table, uint32_t count, uint32_t run,
                                           uint32_t stride, const int8_t *x, int8_t *y)
{
    for (uint32_t i = 0u; i < count; i++) {
        for (uint32_t k = 0u; k < run; k++) {
            y[k] = table[(int32_t)x[k] + 128];
        }
        x = &x[run];
        y = &y[stride];
    }
}

#endif
