/* sim_told.h - for tests of the simulator: what happened, in order, as words. */
#ifndef NETLOCK_TESTS_SIM_TOLD_H
#define NETLOCK_TESTS_SIM_TOLD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "process.h"

static char told[4096];

__attribute__((format(printf, 1, 2))) static void tell(const char *format, ...)
{
    size_t len = strlen(told);
    va_list args;

    if (len != 0 && len < sizeof(told) - 1) {
        told[len++] = ' ';
    }
    va_start(args, format);
    vsnprintf(told + len, sizeof(told) - len, format, args);
    va_end(args);
}

static void assert_told(const char *what)
{
    assert_string_equal(told, what);
    told[0] = '\0';
}

/* What comes to a process from its machine. */
struct letter {
    struct sim_post post;
    const char *text;
    struct letter *answer; /* posted when it runs */
    bool deadly;
};

static inline void on_letter(struct sim_post *post)
{
    struct letter *letter = (struct letter *)post;
    struct sim_process *process = sim_process_current();

    assert_non_null(process);
    tell("%s@%d", letter->text, (int)sim_now_us());
    if (letter->answer != NULL) {
        sim_process_post(process, &letter->answer->post);
    }
    if (letter->deadly) {
        sim_process_exit(1);
    }
}

static inline void drop_letter(struct sim_post *post)
{
    assert_null(sim_process_current());
    tell("drop-%s", ((struct letter *)post)->text);
}

static inline struct letter letter(const char *text, struct letter *answer)
{
    return (struct letter){
        .post = {NULL, on_letter, drop_letter}, .text = text, .answer = answer};
}

#endif
