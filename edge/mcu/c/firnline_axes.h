/* Walks over all axes of a value but the innermost, for which kernels have a loop of their own. */
#ifndef FIRNLINE_AXES_H
#define FIRNLINE_AXES_H

#include "firnline_base.h"

#define FIRNLINE_AXES 6u
#define FIRNLINE_LAST_AXIS (FIRNLINE_AXES - 1u)

/* To the next place along all axes but the last; 0 when that was the last place. */
FIRNLINE_INLINE uint32_t firnline_next(const uint32_t *extent, uint32_t *index)
{
    uint32_t axis = FIRNLINE_LAST_AXIS;
    do {
        axis--;
        index[axis]++;
        if (index[axis] < extent[axis]) {
            return 1u;
        }
        index[axis] = 0u;
    } while (axis != 0u);
    return 0u;
}

/* Where a place lies among elements that are `step` apart along every axis: written out, as
 * compilers do not unroll so short a loop. */
FIRNLINE_INLINE uint32_t firnline_element(const uint32_t step[FIRNLINE_AXES],
                                          const uint32_t index[FIRNLINE_AXES])
{
    return (index[0] * step[0]) + (index[1] * step[1]) + (index[2] * step[2])
           + (index[3] * step[3]) + (index[4] * step[4]);
}

#endif
