/* Callbacks for unicorn, in native code so that every call is counted and every access checked.
 *
 * What silicon refuses and the emulator lets pass is found here: misaligned accesses, and reads
 * and writes of RAM that is not the model's. unicorn's own types are declared as far as needed.
 */
#include <stdint.h>

#if defined(_WIN32)
#define API __declspec(dllexport)
#else
#define API __attribute__((visibility("default")))
#endif
#define RANGES 8U
#define MARKS 4096U
#define WRITES 17U /* UC_MEM_WRITE; 16 is UC_MEM_READ */

enum { SOUND = 0, MISALIGNED = 1, FOREIGN = 2 };

struct range {
    uint64_t from, to;
    uint64_t writable;
};

struct watch {
    uint64_t instructions;
    uint64_t arm;       /* Thumb; else compressed RISC-V */
    uint64_t strict;    /* every access aligned to its size, as on ARMv6-M */
    uint64_t code_from; /* `code` is what is in flash from here on */
    uint64_t code_size;
    const uint8_t *code;
    uint32_t *blocks; /* for every halfword of code: size and instructions of a block there */
    uint64_t ram_from, ram_to;
    struct range ranges[RANGES];
    uint64_t problem, problem_place, problem_address;
    int (*read_register)(void *, int, void *);
    uint64_t place_register;
    uint64_t block_from, block_size;
    uint64_t mark_count;
    uint64_t mark_place[MARKS], mark_instructions[MARKS];
};

API void watch_block(void *machine, uint64_t address, uint32_t size, void *user);
API void watch_mark(void *machine, uint64_t address, uint32_t size, void *user);
API void watch_access(void *machine, int kind, uint64_t address, int size, int64_t value,
                      void *user);

static uint32_t half(const struct watch *w, uint64_t address) {
    const uint8_t *at = w->code + (address - w->code_from);
    return (uint32_t)at[0] | ((uint32_t)at[1] << 8);
}

/* The first halfword tells an instruction's length: from 0b11101 on 32 bits in Thumb, with the two
 * lowest bits set 32 bits in RISC-V. */
static uint32_t is_wide(const struct watch *w, uint32_t first) {
    return (w->arm != 0U) ? (uint32_t)(first >= 0xE800U) : (uint32_t)((first & 3U) == 3U);
}

static uint32_t count(const struct watch *w, uint64_t from, uint64_t to) {
    uint32_t found = 0U;
    while (from < to) {
        from += (is_wide(w, half(w, from)) != 0U) ? 4U : 2U;
        found++;
    }
    return found;
}

API void watch_block(void *machine, uint64_t address, uint32_t size, void *user) {
    (void)machine;
    struct watch *w = user;
    const uint64_t offset = address - w->code_from;
    w->block_from = address;
    w->block_size = size;
    if ((address < w->code_from) || (offset + size > w->code_size)) {
        w->problem = FOREIGN;
        w->problem_place = address;
        w->problem_address = address;
        return;
    }
    uint32_t *known = &w->blocks[offset / 2U];
    if ((*known >> 16) != size) {
        *known = (size << 16) | count(w, address, address + size);
    }
    w->instructions += *known & 0xFFFFU;
}

API void watch_mark(void *machine, uint64_t address, uint32_t size, void *user) {
    (void)machine;
    (void)size;
    struct watch *w = user;
    if (w->mark_count < MARKS) {
        const uint64_t end = w->block_from + w->block_size;
        w->mark_place[w->mark_count] = address;
        w->mark_instructions[w->mark_count] = w->instructions - count(w, address, end);
        w->mark_count++;
    }
}

static uint64_t place(void *machine, const struct watch *w) {
    uint32_t value = 0U;
    (void)w->read_register(machine, (int)w->place_register, &value);
    return value;
}

/* From ARMv7-M on single loads and stores need no alignment; several at once do, and floats. */
static uint32_t needs_alignment(const struct watch *w, uint64_t address) {
    if ((address < w->code_from) || (address >= w->code_from + w->code_size)) {
        return 1U;
    }
    const uint32_t first = half(w, address);
    return (uint32_t)(((first & 0xF000U) == 0xC000U) || ((first & 0xF600U) == 0xB400U) ||
                      ((first & 0xFE00U) == 0xE800U) || ((first & 0xEE00U) == 0xEC00U));
}

static void report(struct watch *w, uint64_t problem, uint64_t at, uint64_t address) {
    w->problem = problem;
    w->problem_place = at;
    w->problem_address = address;
}

API void watch_access(void *machine, int kind, uint64_t address, int size, int64_t value,
                      void *user) {
    (void)value;
    struct watch *w = user;
    if (w->problem != SOUND) {
        return;
    }
    const uint64_t least = (size < 4) ? (uint64_t)size : 4U;
    if ((address & (least - 1U)) != 0U) {
        const uint64_t at = place(machine, w);
        if ((w->strict != 0U) || (needs_alignment(w, at) != 0U)) {
            report(w, MISALIGNED, at, address);
            return;
        }
    }
    if ((address < w->ram_from) || (address >= w->ram_to)) {
        return;
    }
    for (uint32_t k = 0U; k < RANGES; k++) {
        if ((address >= w->ranges[k].from) && (address + (uint64_t)size <= w->ranges[k].to) &&
            ((kind != (int)WRITES) || (w->ranges[k].writable != 0U))) {
            return;
        }
    }
    report(w, FOREIGN, place(machine, w), address);
}
