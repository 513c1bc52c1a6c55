/* Fail the n-th step of input and output below one folder, for every library of a process: preloaded before the C library.
 *
 * Steps: open, creat, write, pwrite, writev, fsync, fdatasync, ftruncate, rename, link, unlink, mkdir and their kin.
 * What it does not see: calls of the kernel that go past the C library, files that are mapped, and reads.
 * FAULTS_CLOCK=SECONDS shifts the wall clock of the process.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

static char root[PATH_MAX];
static size_t root_length;
static atomic_long steps, fail_at;
static atomic_int all_after, error_number;
static char failed[PATH_MAX + 32];
static atomic_char watched[1 << 16];

/* Count from now on the steps below `folder`; fail the n-th (0: none), and with `after` all that follow. */
void faults_arm(const char *folder, long n, int after, int error) {
    root_length = 0;
    snprintf(root, sizeof root, "%s", folder);
    steps = 0;
    fail_at = n;
    all_after = after;
    error_number = error;
    failed[0] = 0;
    root_length = strlen(root);
}

/* Stop; return how many steps there were. */
long faults_disarm(void) {
    root_length = 0;
    return steps;
}

const char *faults_failed(void) { return failed; }

static int below(const char *path) {
    return root_length && path && !strncmp(path, root, root_length) && (path[root_length] == '/' || !path[root_length]);
}

static int fails(const char *what, const char *path) {
    long now = atomic_fetch_add(&steps, 1) + 1, at = fail_at;
    if (!at || now < at || (now > at && !all_after)) return 0;
    if (now == at) snprintf(failed, sizeof failed, "%s %s", what, path);
    errno = error_number;
    return 1;
}

static int fd_fails(const char *what, int fd) {
    return root_length && fd >= 0 && fd < (1 << 16) && watched[fd] && fails(what, "");
}

#define NEXT(name) ((typeof(&name))dlsym(RTLD_NEXT, #name))

static int opened(int fd, const char *path) {
    if (fd >= 0 && fd < (1 << 16)) watched[fd] = below(path);
    return fd;
}

#define MODE mode_t mode = 0; if (flags & (O_CREAT | O_TMPFILE)) { va_list rest; va_start(rest, flags); mode = va_arg(rest, mode_t); va_end(rest); }
#define OPEN(name) int name(const char *path, int flags, ...) { \
    MODE \
    return below(path) && fails("open", path) ? -1 : opened(NEXT(name)(path, flags, mode), path); }
#define OPENAT(name) int name(int at, const char *path, int flags, ...) { \
    MODE \
    return below(path) && fails("open", path) ? -1 : opened(NEXT(name)(at, path, flags, mode), path); }
OPEN(open)
OPEN(open64)
OPENAT(openat)
OPENAT(openat64)

/* A number is given out anew: what an engine wakes its threads by is no file below the folder. */
int close(int fd) {
    if (fd >= 0 && fd < (1 << 16)) watched[fd] = 0;
    return NEXT(close)(fd);
}

#define ON_FD(type, name, declared, given) type name declared { return fd_fails(#name, fd) ? -1 : NEXT(name) given; }
ON_FD(ssize_t, write, (int fd, const void *data, size_t size), (fd, data, size))
ON_FD(ssize_t, pwrite, (int fd, const void *data, size_t size, off_t at), (fd, data, size, at))
ON_FD(ssize_t, pwrite64, (int fd, const void *data, size_t size, off64_t at), (fd, data, size, at))
ON_FD(ssize_t, writev, (int fd, const struct iovec *parts, int count), (fd, parts, count))
ON_FD(int, fsync, (int fd), (fd))
ON_FD(int, fdatasync, (int fd), (fd))
ON_FD(int, ftruncate, (int fd, off_t size), (fd, size))
ON_FD(int, ftruncate64, (int fd, off64_t size), (fd, size))

#define ON_PATH(name, declared, path, given) int name declared { return below(path) && fails(#name, path) ? -1 : NEXT(name) given; }
ON_PATH(rename, (const char *from, const char *to), to, (from, to))
ON_PATH(renameat, (int f, const char *from, int t, const char *to), to, (f, from, t, to))
ON_PATH(renameat2, (int f, const char *from, int t, const char *to, unsigned flags), to, (f, from, t, to, flags))
ON_PATH(link, (const char *from, const char *to), to, (from, to))
ON_PATH(linkat, (int f, const char *from, int t, const char *to, int flags), to, (f, from, t, to, flags))
ON_PATH(unlink, (const char *path), path, (path))
ON_PATH(unlinkat, (int at, const char *path, int flags), path, (at, path, flags))
ON_PATH(mkdir, (const char *path, mode_t mode), path, (path, mode))
ON_PATH(mkdirat, (int at, const char *path, mode_t mode), path, (at, path, mode))

int clock_gettime(clockid_t which, struct timespec *now) {
    static long shift = -1, known;
    if (!known) {
        const char *asked = getenv("FAULTS_CLOCK");
        shift = asked ? atol(asked) : 0, known = 1;
    }
    int done = NEXT(clock_gettime)(which, now);
    if (!done && which == CLOCK_REALTIME) now->tv_sec += shift;
    return done;
}
