/* A Cortex-M without an operating system and without a C library: start, text over the UART, end.
 *
 * For QEMU's mps2-an500 (Cortex-M7) and mps3-an547 (Cortex-M55); UART0 is Arm's CMSDK UART. The end
 * is a semihosting call, with which QEMU ends too and hands on the status. */

#include <stdint.h>
#include <string.h>

#include "../target.h"
#include "wherry/engine.h"

#define CPACR (*(volatile uint32_t *)0xE000ED88u)
#define UART_IS_FULL 1u
#define UART_TRANSMITS 1u
#define SYS_EXIT_EXTENDED 0x20u
#define STOPPED_APPLICATION_EXIT 0x20026u
#define STATUS_FAULT 3u

typedef struct {
    uint32_t data, state, control, interrupts, divider;
} uart;

/* Places that the linker scripts name. */
extern volatile uart wh_uart0;
extern uint32_t wh_stack_end, wh_bss_begin, wh_bss_end;

void wh_start(void);
void wh_fault(void);

void *memcpy(void *restrict to, const void *restrict from, size_t size)
{
    uint8_t *t = to;
    const uint8_t *f = from;
    while (size-- > 0) {
        *t++ = *f++;
    }
    return to;
}

void *memset(void *to, int value, size_t size)
{
    uint8_t *t = to;
    while (size-- > 0) {
        *t++ = (uint8_t)value;
    }
    return to;
}

void wh_write(const char *text)
{
    for (; *text != '\0'; text++) {
        while ((wh_uart0.state & UART_IS_FULL) != 0) {
        }
        wh_uart0.data = (uint8_t)*text;
    }
}

/* As a microcontroller runs it: weights stay in flash, in their one form. */
wh_preparation wh_target_preparation(void)
{
    return (wh_preparation){wh_portable_kernels(), NULL, 0};
}

static void end(uint32_t status)
{
    const uint32_t block[2] = {STOPPED_APPLICATION_EXIT, status};
    register uint32_t operation __asm__("r0") = SYS_EXIT_EXTENDED;
    register const uint32_t *argument __asm__("r1") = block;
    __asm__ volatile("bkpt 0xAB" : "+r"(operation) : "r"(argument) : "memory");
    for (;;) {
    }
}

void wh_fault(void)
{
    wh_write("fault\n");
    end(STATUS_FAULT);
}

void wh_start(void)
{
    for (uint32_t *word = &wh_bss_begin; word < &wh_bss_end; word++) {
        *word = 0;
    }
    CPACR |= 0xFu << 20; /* the FPU, and with it Helium: a compiler may use their registers */
    __asm__ volatile("dsb\n\tisb" ::: "memory");
    wh_uart0.divider = 16;
    wh_uart0.control = UART_TRANSMITS;
    wh_run_vectors();
    end(0);
}

/* Stack, reset, and every fault that there is before the first interrupt. */
__attribute__((section(".vector_table"), used)) static const uintptr_t vector_table[16] = {
    (uintptr_t)&wh_stack_end, (uintptr_t)wh_start, (uintptr_t)wh_fault, (uintptr_t)wh_fault,
    (uintptr_t)wh_fault,      (uintptr_t)wh_fault, (uintptr_t)wh_fault, (uintptr_t)wh_fault,
};
