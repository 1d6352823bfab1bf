// Preloaded into a process: opening a Parquet file waits for as long as the file that HANGS_WHILE names exists, as on a network file system
// whose server does not answer.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void hang(const char *path) {
    const char *marker = getenv("HANGS_WHILE");
    size_t length = strlen(path);
    if (marker == NULL || length < 8 || strcmp(path + length - 8, ".parquet") != 0) return;
    while (access(marker, F_OK) == 0) usleep(100000);
}

#define INTERCEPT(NAME)                                                                   \
    int NAME(const char *path, int flags, ...) {                                          \
        va_list rest;                                                                     \
        va_start(rest, flags);                                                            \
        mode_t mode = va_arg(rest, mode_t);                                               \
        va_end(rest);                                                                     \
        hang(path);                                                                       \
        return ((int (*)(const char *, int, ...))dlsym(RTLD_NEXT, #NAME))(path, flags, mode); \
    }

INTERCEPT(open)
INTERCEPT(open64)
