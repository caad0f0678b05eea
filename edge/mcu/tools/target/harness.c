/* Start-up code and the loop over rows, for an emulated board with semihosting.
 *
 * Rows are read from `in.bin`; what `firnline_entry` makes of each is written to `out.bin`, and
 * the clock's ticks during the call to `ticks.bin`; `report.bin` gets the stack's depth and the
 * first row whose call wrote beyond its output, from 1 on, or all ones when the stack overflowed.
 * A runner that holds the memory itself needs none of this: it calls `firnline_entry`.
 */
#include <stdint.h>

#define BOOT_TEXT __attribute__((section(".firnline.text"), used, noinline))
#define BOOT_DATA __attribute__((section(".firnline.rodata"), used))
#define BOOT_BSS __attribute__((section(".firnline.bss"), used))

#define PAINT 0xA5A5A5A5U /* of the unused stack */
#define FENCE 0x5AU       /* of the bytes beyond inputs and outputs */
#define FENCE_BYTES 16U
#define OPEN 0x01U
#define WRITE 0x05U
#define READ 0x06U
#define EXIT 0x20U
#define MODE_READ 1U
#define MODE_WRITE 5U
#define NO_TICKS 0xFFFFFFFFU
#define OVERFLOWED 0xFFFFFFFFU

extern void firnline_entry(const void *in, void *out);
extern const uint32_t firnline_in_bytes, firnline_out_bytes;
extern uint32_t firnline_stack_low[], firnline_stack_high[], firnline_data_start[];
extern uint32_t firnline_data_end[], firnline_data_load[], firnline_bss_start[], firnline_bss_end[];
extern uint8_t firnline_io[], firnline_ram_end[];

void firnline_start(void);
void firnline_main(void);
void firnline_fault(uint32_t place);
uint32_t firnline_semihost(uint32_t operation, const void *block);
void firnline_call(const void *in, void *out, void (*entry)(const void *, void *), uint32_t *sp);
void firnline_returned(void);
void firnline_empty(const void *in, void *out);

#if defined(__arm__)
__asm__(".section .firnline.text,\"ax\",%progbits\n"
        ".syntax unified\n"
        ".thumb\n"
        ".balign 4\n"
        ".global firnline_semihost\n"
        ".type firnline_semihost,%function\n"
        "firnline_semihost: bkpt 0xab\n"
        "bx lr\n"
        ".global firnline_call\n"
        ".type firnline_call,%function\n"
        "firnline_call: push {r4, r5, r6, lr}\n"
        "mov r4, sp\n"
        "mov r5, sp\n"
        "subs r5, #255\n" /* so far from the harness's own frames: its depth is not the model's */
        "subs r5, #1\n"
        "mov sp, r5\n" /* still a multiple of 8 */
        "str r5, [r3]\n"
        "blx r2\n"
        ".global firnline_returned\n"
        ".type firnline_returned,%function\n"
        "firnline_returned: mov sp, r4\n"
        "pop {r4, r5, r6, pc}\n"
        ".global firnline_empty\n"
        ".type firnline_empty,%function\n"
        "firnline_empty: bx lr\n"
        ".global firnline_fault_entry\n"
        ".type firnline_fault_entry,%function\n"
        "firnline_fault_entry: ldr r0, [sp, #24]\n" /* the address that the exception saved */
        "b firnline_fault\n"
        ".text\n");
void firnline_fault_entry(void);
#define SYSTICK ((volatile uint32_t *)0xE000E010U)
#define CPACR ((volatile uint32_t *)0xE000ED88U)
__attribute__((section(".firnline.vectors"), used)) static const void *const vectors[16] = {
    firnline_stack_high, (const void *)firnline_start,
    (const void *)firnline_fault_entry, (const void *)firnline_fault_entry,
    (const void *)firnline_fault_entry, (const void *)firnline_fault_entry,
    (const void *)firnline_fault_entry, (const void *)firnline_fault_entry,
};

static inline void clock_start(void) {
    SYSTICK[0] = 0U;
    SYSTICK[1] = 0xFFFFFFU;
    SYSTICK[2] = 0U;
    SYSTICK[0] = 5U; /* the processor's clock, no interrupt */
    while (SYSTICK[2] == 0U) {
    }
}

static inline uint32_t clock_ticks(void) {
    const uint32_t left = SYSTICK[2];
    return ((SYSTICK[0] & 0x10000U) != 0U) ? NO_TICKS : (0xFFFFFFU - left);
}
#elif defined(__riscv)
__asm__(".section .firnline.vectors,\"ax\",@progbits\n"
        ".global firnline_start\n"
        ".type firnline_start,@function\n"
        "firnline_start: la sp, firnline_stack_high\n"
        "la t0, firnline_fault_entry\n"
        ".option push\n"
        ".option arch, +zicsr\n"
        "csrw mtvec, t0\n"
        ".option pop\n"
        "j firnline_main\n"
        ".section .firnline.text,\"ax\",@progbits\n"
        ".balign 16\n"
        ".global firnline_semihost\n"
        ".type firnline_semihost,@function\n"
        "firnline_semihost:\n"
        ".option push\n"
        ".option norvc\n" /* the marker is three whole instructions within one page */
        "slli x0, x0, 0x1f\n"
        "ebreak\n"
        "srai x0, x0, 7\n"
        ".option pop\n"
        "ret\n"
        ".global firnline_call\n"
        ".type firnline_call,@function\n"
        "firnline_call: addi sp, sp, -16\n"
        "sw s0, 0(sp)\n"
        "sw ra, 4(sp)\n"
        "mv s0, sp\n"
        "addi sp, sp, -256\n"
        "sw sp, 0(a3)\n"
        "jalr a2\n"
        ".global firnline_returned\n"
        ".type firnline_returned,@function\n"
        "firnline_returned: mv sp, s0\n"
        "lw s0, 0(sp)\n"
        "lw ra, 4(sp)\n"
        "addi sp, sp, 16\n"
        "ret\n"
        ".global firnline_empty\n"
        ".type firnline_empty,@function\n"
        "firnline_empty: ret\n"
        ".balign 4\n"
        ".global firnline_fault_entry\n"
        "firnline_fault_entry:\n"
        ".option push\n"
        ".option arch, +zicsr\n"
        "csrr a0, mepc\n"
        ".option pop\n"
        "j firnline_fault\n"
        ".text\n");
static inline void clock_start(void) {
}

/* QEMU gives nanoseconds here when it binds its clock to instructions. */
static inline uint32_t clock_ticks(void) {
    uint32_t executed;
    __asm__ volatile(".option push\n.option arch, +zicsr\ncsrr %0, minstret\n.option pop"
                     : "=r"(executed));
    return executed;
}
#endif

static inline uint32_t call_semihost(uint32_t operation, uint32_t a, uint32_t b, uint32_t c) {
    volatile uint32_t block[3];
    block[0] = a;
    block[1] = b;
    block[2] = c;
    return firnline_semihost(operation, (const void *)block);
}

static inline uint32_t open_file(const char *name, uint32_t length, uint32_t mode) {
    return call_semihost(OPEN, (uint32_t)(uintptr_t)name, mode, length);
}

static inline uint32_t write_file(uint32_t file, const void *from, uint32_t count) {
    return call_semihost(WRITE, file, (uint32_t)(uintptr_t)from, count);
}

static inline void leave(uint32_t code) {
    (void)call_semihost(EXIT, 0x20026U, code, 0U);
}

static const char in_name[] BOOT_DATA = "in.bin";
static const char out_name[] BOOT_DATA = "out.bin";
static const char ticks_name[] BOOT_DATA = "ticks.bin";
static const char report_name[] BOOT_DATA = "report.bin";
static const char fault_name[] BOOT_DATA = "fault.bin";
static uint32_t sp_of_call BOOT_BSS;

BOOT_TEXT void firnline_fault(uint32_t place) {
    const uint32_t file = open_file(fault_name, sizeof fault_name - 1U, MODE_WRITE);
    volatile uint32_t kept = place;
    (void)write_file(file, (const void *)&kept, 4U);
    leave(2U);
    for (;;) {
    }
}

BOOT_TEXT static uint32_t timed_call(const void *in, void *out, void (*entry)(const void *, void *)) {
    clock_start();
    const uint32_t before = clock_ticks();
    firnline_call(in, out, entry, &sp_of_call);
    const uint32_t after = clock_ticks();
    return ((before == NO_TICKS) || (after == NO_TICKS)) ? NO_TICKS : (after - before);
}

static inline uint32_t round_up(uint32_t count) {
    return (count + 15U) & ~15U;
}

static inline void fill(volatile uint8_t *from, const uint8_t *to) {
    while (from < to) {
        *from++ = FENCE;
    }
}

static inline uint32_t is_whole(const volatile uint8_t *from, const uint8_t *to) {
    uint32_t whole = 1U;
    while (from < to) {
        whole &= (uint32_t)(*from++ == FENCE);
    }
    return whole;
}

BOOT_TEXT void firnline_main(void) {
    volatile uint32_t *to = firnline_data_start;
    for (const uint32_t *from = firnline_data_load; to < firnline_data_end;) {
        *to++ = *from++;
    }
    for (to = firnline_bss_start; to < firnline_bss_end;) {
        *to++ = 0U;
    }
    const uint32_t in_bytes = firnline_in_bytes;
    const uint32_t out_bytes = firnline_out_bytes;
    uint8_t *const in = firnline_io;
    uint8_t *const out = in + round_up(in_bytes) + FENCE_BYTES;
    uint8_t *const end = out + round_up(out_bytes) + FENCE_BYTES;
    if (end > firnline_ram_end) {
        leave(3U);
    }
    const uint32_t source = open_file(in_name, sizeof in_name - 1U, MODE_READ);
    const uint32_t sink = open_file(out_name, sizeof out_name - 1U, MODE_WRITE);
    const uint32_t ticks_sink = open_file(ticks_name, sizeof ticks_name - 1U, MODE_WRITE);
    const uint32_t report_sink = open_file(report_name, sizeof report_name - 1U, MODE_WRITE);
    volatile uint32_t ticks = timed_call(in, out, firnline_empty);
    (void)write_file(ticks_sink, (const void *)&ticks, 4U);
    for (to = firnline_stack_low; (uintptr_t)to < (uintptr_t)sp_of_call;) {
        *to++ = PAINT;
    }
    volatile uint32_t report[2] = {0U, 0U};
    fill(in, end);
    for (uint32_t row = 1U; call_semihost(READ, source, (uint32_t)(uintptr_t)in, in_bytes) == 0U; row++) {
        fill(out, end);
        ticks = timed_call(in, out, firnline_entry);
        if ((report[1] == 0U) && (is_whole(out + out_bytes, end) == 0U)) {
            report[1] = row;
        }
        (void)write_file(sink, out, out_bytes);
        (void)write_file(ticks_sink, (const void *)&ticks, 4U);
    }
    to = firnline_stack_low;
    while (((uintptr_t)to < (uintptr_t)sp_of_call) && (*to == PAINT)) {
        to++;
    }
    if (*firnline_stack_low != PAINT) {
        report[1] = OVERFLOWED;
    }
    report[0] = sp_of_call - (uint32_t)(uintptr_t)to;
    (void)write_file(report_sink, (const void *)report, 8U);
    leave(0U);
    for (;;) {
    }
}

#if defined(__arm__)
BOOT_TEXT void firnline_start(void) {
#if defined(__ARM_FP) || defined(__ARM_FEATURE_MVE)
    *CPACR |= 0xFU << 20; /* the FPU, and MVE with it */
    __asm__ volatile("dsb\nisb" ::: "memory");
#endif
    firnline_main();
}
#endif
