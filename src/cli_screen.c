#include "cli_screen.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "cli_text.h"

/* The alternate screen, no cursor, no wrapping (a wide character is not counted as two here). */
static const char enter[] = "\x1b[?1049h\x1b[?25l\x1b[?7l";
static const char leave[] = "\x1b[?7h\x1b[?25h\x1b[?1049l";

static bool is_smart(void)
{
    const char *term = getenv("TERM");

    return isatty(STDIN_FILENO) && isatty(STDOUT_FILENO) && term != NULL &&
           *term != '\0' && strcmp(term, "dumb") != 0;
}

static void begin_frame(struct screen *screen)
{
    struct winsize size;

    screen->rows_put = 0;
    screen->frame = open_memstream(&screen->text, &screen->bytes);
    if (screen->frame == NULL) {
        abort();
    }
    if (!screen->is_terminal) {
        return;
    }
    screen->rows = 24;
    screen->columns = 80;
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_row > 0 &&
        size.ws_col > 0) {
        screen->rows = size.ws_row;
        screen->columns = size.ws_col;
    }
    fputs("\x1b[H", screen->frame);
}

static void end_frame(struct screen *screen)
{
    fclose(screen->frame);
    free(screen->text);
    screen->frame = NULL;
    screen->text = NULL;
}

/* Suspending would leave the shell with our screen: the key is taken away. */
static void set_keys(struct screen *screen)
{
    struct termios keys = screen->saved;

    keys.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
    keys.c_cc[VSUSP] = _POSIX_VDISABLE;
    keys.c_cc[VMIN] = 1;
    keys.c_cc[VTIME] = 0;
    tcsetattr(STDIN_FILENO, TCSANOW, &keys);
}

void screen_open(struct screen *screen, enum screen_kind kind)
{
    sigset_t mask;

    *screen = (struct screen){.signals = -1};
    if (kind == SCREEN_IF_TERMINAL && is_smart() &&
        tcgetattr(STDIN_FILENO, &screen->saved) == 0) {
        sigemptyset(&mask);
        sigaddset(&mask, SIGINT);
        sigaddset(&mask, SIGTERM);
        sigaddset(&mask, SIGHUP);
        sigaddset(&mask, SIGWINCH);
        pthread_sigmask(SIG_BLOCK, &mask, &screen->saved_mask);
        screen->signals = signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK);
        screen->is_terminal = screen->signals >= 0;
    }
    if (screen->is_terminal) {
        set_keys(screen);
        fputs(enter, stdout);
        fflush(stdout);
    }
    begin_frame(screen);
}

void screen_close(struct screen *screen)
{
    end_frame(screen);
    if (!screen->is_terminal) {
        return;
    }
    fputs(leave, stdout);
    fflush(stdout);
    tcsetattr(STDIN_FILENO, TCSANOW, &screen->saved);
    close(screen->signals);
    pthread_sigmask(SIG_SETMASK, &screen->saved_mask, NULL);
}

void screen_put(struct screen *screen, enum screen_style style, const char *line)
{
    if (!screen->is_terminal) {
        fprintf(screen->frame, "%s\n", line);
        return;
    }
    if (screen->rows_put + 1 >= screen->rows) {
        return; /* the last line is that of the keys */
    }
    screen->rows_put++;
    fprintf(screen->frame, "%s%.*s\x1b[0m\x1b[K\n", style == SCREEN_BOLD ? "\x1b[1m" : "",
            (int)text_prefix(line, screen->columns), line);
}

void screen_put_table(struct screen *screen, const char *text)
{
    enum screen_style style = SCREEN_BOLD;

    for (const char *end; (end = strchr(text, '\n')) != NULL; text = end + 1) {
        char *line = strndup(text, (size_t)(end - text));

        if (line == NULL) {
            abort();
        }
        screen_put(screen, style, line);
        free(line);
        style = SCREEN_PLAIN;
    }
}

void screen_paint(struct screen *screen, const char *keys)
{
    if (screen->is_terminal) {
        fprintf(screen->frame, "\x1b[J\x1b[%zu;1H\x1b[7m%.*s\x1b[0m\x1b[K", screen->rows,
                (int)text_prefix(keys, screen->columns), keys);
    }
    fflush(screen->frame);
    fwrite(screen->text, 1, screen->bytes, stdout);
    fflush(stdout);
    end_frame(screen);
    begin_frame(screen);
}

static int read_signal(const struct screen *screen)
{
    struct signalfd_siginfo info;
    bool ends = false;

    while (read(screen->signals, &info, sizeof info) == sizeof info) {
        ends = ends || info.ssi_signo != SIGWINCH;
    }
    return ends ? SCREEN_END : SCREEN_RESIZED;
}

int screen_wait(struct screen *screen, uint32_t ms)
{
    struct pollfd fds[] = {{.fd = STDOUT_FILENO}, /* POLLERR: a pipe without a reader */
                           {.fd = screen->signals, .events = POLLIN},
                           {.fd = STDIN_FILENO, .events = POLLIN}};
    int rv = poll(fds, screen->is_terminal ? 3 : 1, (int)ms);
    char key;

    if (rv <= 0) {
        return SCREEN_TIME;
    }
    if (fds[0].revents != 0) {
        return SCREEN_BROKEN;
    }
    if (fds[1].revents != 0) {
        return read_signal(screen);
    }
    return read(STDIN_FILENO, &key, 1) == 1 ? (unsigned char)key : SCREEN_END;
}
