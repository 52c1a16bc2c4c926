/* cli_screen.h - a terminal that is painted again and again, and read key by key.
 *
 *     screen_open(&screen, SCREEN_IF_TERMINAL); before the library makes its thread: blocks signals
 *     screen_put(&screen, SCREEN_PLAIN, "..."); ... screen_paint(&screen, "q quit");
 *     switch (screen_wait(&screen, 2000)) ...
 *     screen_close(&screen);                 the terminal is as it was
 *
 * Where stdin or stdout is no terminal, or is not to be taken for one, or $TERM is unset or "dumb", a frame is printed below the one
 * before it, whole, without colours and keys; signals then do what they always do. */
#ifndef NETLOCK_CLI_SCREEN_H
#define NETLOCK_CLI_SCREEN_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <termios.h>

enum screen_style { SCREEN_PLAIN, SCREEN_BOLD };

/* What screen_wait() returns, beside the character of a key. */
enum { SCREEN_TIME = 0, SCREEN_END = -1, SCREEN_RESIZED = -2, SCREEN_BROKEN = -3 };

struct screen {
    bool is_terminal;
    size_t rows, columns; /* of the frame that is being put together */
    size_t rows_put;
    FILE *frame;
    char *text; /* of the frame */
    size_t bytes;
    int signals; /* a signalfd */
    struct termios saved;
    sigset_t saved_mask;
};

enum screen_kind { SCREEN_IF_TERMINAL, SCREEN_NO_TERMINAL };
void screen_open(struct screen *screen, enum screen_kind kind);
void screen_close(struct screen *screen);

/* A line, without its end, of printable text in UTF-8. What the terminal has no room for is cut. */
void screen_put(struct screen *screen, enum screen_style style, const char *line);
/* Every line of @text; the first one as a heading. */
void screen_put_table(struct screen *screen, const char *text);

/* Show what was put, with @keys in the last line of a terminal, and begin anew. */
void screen_paint(struct screen *screen, const char *keys);

/* A key, SCREEN_TIME after @ms, SCREEN_END if the process is to end, SCREEN_RESIZED; SCREEN_BROKEN if
 * nobody reads stdout any more. */
int screen_wait(struct screen *screen, uint32_t ms);

#endif
