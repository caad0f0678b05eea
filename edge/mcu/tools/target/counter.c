/* A QEMU plugin: instructions of every call of `firnline_entry`, a line a call, and the first
 * access in a call that silicon would refuse as misaligned where QEMU does not.
 *
 * The interface (version 1) is declared here, as distributions leave its header out. No libc is
 * used: lines go to QEMU's own log. Arguments are addresses in hexadecimal: entry=, back= (where
 * the call returns to), mark= for places whose passing in the first call is told as well, and
 * aligned= for the instructions to check: 1 all of them, 2 those of Arm's vectors.
 *
 * Blocks are counted whole when they begin. A call begins a block and its return begins another,
 * so differences between the two are exact; a mark within a block is corrected by its place there.
 */
#include <stddef.h>
#include <stdint.h>

typedef uint64_t plugin_id;
struct plugin_info;
struct plugin_block;
struct plugin_instruction;
typedef void (*block_callback)(plugin_id, struct plugin_block *);
typedef void (*run_callback)(unsigned, void *);
typedef void (*access_callback)(unsigned, uint32_t, uint64_t, void *);

extern void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id, block_callback);
extern void qemu_plugin_register_vcpu_tb_exec_cb(struct plugin_block *, run_callback, int, void *);
extern void qemu_plugin_register_vcpu_tb_exec_inline(struct plugin_block *, int, void *, uint64_t);
extern void qemu_plugin_register_vcpu_insn_exec_cb(struct plugin_instruction *, run_callback, int,
                                                   void *);
extern size_t qemu_plugin_tb_n_insns(const struct plugin_block *);
extern struct plugin_instruction *qemu_plugin_tb_get_insn(const struct plugin_block *, size_t);
extern uint64_t qemu_plugin_insn_vaddr(const struct plugin_instruction *);
extern size_t qemu_plugin_insn_size(const struct plugin_instruction *);
extern const void *qemu_plugin_insn_data(const struct plugin_instruction *);
extern void qemu_plugin_register_vcpu_mem_cb(struct plugin_instruction *, access_callback, int, int,
                                             void *);
extern unsigned qemu_plugin_mem_size_shift(uint32_t);
extern void qemu_plugin_outs(const char *);

#define API __attribute__((visibility("default")))
#define MARKS 4096U
#define INLINE_ADD 0
#define NO_REGISTERS 0
#define READS_AND_WRITES 3
#define ALL_ACCESSES 1U
#define VECTOR_ACCESSES 2U

API int qemu_plugin_version = 1;
API int qemu_plugin_install(plugin_id id, const struct plugin_info *info, int argc, char **argv);

static uint64_t executed, begun, calls, entry, back;
static uint64_t aligned;
static int inside, told;
static uint64_t marks[MARKS];
static size_t mark_count;

static void tell(char kind, uint64_t first, uint64_t second) {
    char text[48];
    size_t at = sizeof text - 1U;
    text[at] = '\0';
    text[--at] = '\n';
    const uint64_t values[2] = {second, first};
    for (size_t k = 0; k < 2U; k++) {
        uint64_t left = values[k];
        do {
            text[--at] = (char)('0' + (int)(left % 10U));
            left /= 10U;
        } while (left != 0U);
        text[--at] = ' ';
    }
    text[--at] = kind;
    qemu_plugin_outs(&text[at]);
}

/* Both blocks count themselves here, so that no order of callbacks matters. */
static void on_entry(unsigned cpu, void *length) {
    (void)cpu;
    begun = executed;
    inside = 1;
    executed += (uint64_t)(uintptr_t)length;
}

static void on_back(unsigned cpu, void *length) {
    (void)cpu;
    if (inside != 0) {
        tell('C', calls, executed - begun);
        calls++;
        inside = 0;
    }
    executed += (uint64_t)(uintptr_t)length;
}

/* `packed`: place of the mark in `marks`, and instructions of its block from it on. */
static void on_mark(unsigned cpu, void *packed) {
    (void)cpu;
    const uint64_t value = (uint64_t)(uintptr_t)packed;
    if ((calls == 0U) && (inside != 0)) {
        tell('M', value % MARKS, executed - begun - value / MARKS);
    }
}

static void on_access(unsigned cpu, uint32_t info, uint64_t address, void *place) {
    (void)cpu;
    const unsigned shift = qemu_plugin_mem_size_shift(info);
    const uint64_t size = 1UL << ((shift > 2U) ? 2U : shift);
    if ((inside != 0) && (told == 0) && ((address & (size - 1U)) != 0U)) {
        told = 1;
        tell('A', address, (uint64_t)(uintptr_t)place);
    }
}

/* Loads and stores of coprocessors' numbers 14 and 15: MVE's, whose elements are always aligned. */
static int is_vector(const struct plugin_instruction *at) {
    const uint8_t *bytes = qemu_plugin_insn_data(at);
    return (qemu_plugin_insn_size(at) == 4U) && ((bytes[1] & 0xEEU) == 0xECU);
}

static void translate(plugin_id id, struct plugin_block *block) {
    (void)id;
    const size_t length = qemu_plugin_tb_n_insns(block);
    const uint64_t first = qemu_plugin_insn_vaddr(qemu_plugin_tb_get_insn(block, 0));
    void *const counted = (void *)(uintptr_t)length;
    if (first == entry) {
        qemu_plugin_register_vcpu_tb_exec_cb(block, on_entry, NO_REGISTERS, counted);
    } else if (first == back) {
        qemu_plugin_register_vcpu_tb_exec_cb(block, on_back, NO_REGISTERS, counted);
    } else {
        qemu_plugin_register_vcpu_tb_exec_inline(block, INLINE_ADD, &executed, length);
    }
    for (size_t k = 0; k < length; k++) {
        struct plugin_instruction *const at = qemu_plugin_tb_get_insn(block, k);
        const uint64_t place = qemu_plugin_insn_vaddr(at);
        if ((aligned == ALL_ACCESSES) || ((aligned == VECTOR_ACCESSES) && (is_vector(at) != 0))) {
            qemu_plugin_register_vcpu_mem_cb(at, on_access, NO_REGISTERS, READS_AND_WRITES,
                                             (void *)(uintptr_t)place);
        }
        for (size_t m = 0; m < mark_count; m++) {
            if (marks[m] == place) {
                void *const packed = (void *)(uintptr_t)((length - k) * MARKS + m);
                qemu_plugin_register_vcpu_insn_exec_cb(at, on_mark, NO_REGISTERS, packed);
            }
        }
    }
}

static uint64_t hexadecimal(const char *text) {
    uint64_t value = 0;
    for (; *text != '\0'; text++) {
        const char digit = *text;
        value = value * 16U + (uint64_t)(digit <= '9' ? digit - '0' : (digit | 32) - 'a' + 10);
    }
    return value;
}

API int qemu_plugin_install(plugin_id id, const struct plugin_info *info, int argc, char **argv) {
    (void)info;
    for (int k = 0; k < argc; k++) {
        const char *value = argv[k];
        while (*value != '=') {
            if (*value == '\0') {
                return 1;
            }
            value++;
        }
        if (argv[k][0] == 'e') {
            entry = hexadecimal(value + 1);
        } else if (argv[k][0] == 'b') {
            back = hexadecimal(value + 1);
        } else if (argv[k][0] == 'a') {
            aligned = hexadecimal(value + 1);
        } else if (mark_count < MARKS) {
            marks[mark_count++] = hexadecimal(value + 1);
        }
    }
    qemu_plugin_register_vcpu_tb_trans_cb(id, translate);
    return 0;
}
