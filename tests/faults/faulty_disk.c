/* A disk that fails or is slow, for the processes that load this with LD_PRELOAD.
 *
 * Calls that concern files below a folder fail with an error of the system after a number of such
 * calls, and all later ones fail too; or every call sleeps first. fault_arm() sets this up within a
 * process; the variable FAULT, "calls errno after microseconds folder", does so from the beginning.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum { WRITE = 1, SYNC = 2, CLOSE = 4, RENAME = 8, OPEN = 16, MKDIR = 32, LINK = 64, UNLINK = 128, READ = 256 };

static struct {
    char folder[PATH_MAX];
    unsigned calls;
    int error;
    long after, microseconds;
} fault;

/* Shared with all processes that are forked. */
static struct {
    long seen, failed, counts[9];
} *so_far;

#define REAL(name) ((__typeof__(&name))real(#name))
#define FLAGS_OF_WRITING (O_WRONLY | O_RDWR | O_CREAT)

static void *real(const char *name) {
    return dlsym(RTLD_NEXT, name);
}

void fault_arm(unsigned calls, int error, long after, long microseconds, const char *folder) {
    fault.calls = calls, fault.error = error;
    fault.after = after, fault.microseconds = microseconds;
    memset(so_far, 0, sizeof *so_far);
    snprintf(fault.folder, sizeof fault.folder, "%s", folder);
}

/* Calls of a kind so far; calls that failed. */
long fault_count(int bit) { return so_far->counts[bit]; }
long fault_failed(void) { return so_far->failed; }

__attribute__((constructor)) static void arm_from_environment(void) {
    unsigned calls;
    int error, begin = 0;
    long after, microseconds;
    const char *text = getenv("FAULT");
    so_far = mmap(NULL, sizeof *so_far, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (text && sscanf(text, "%u %d %ld %ld %n", &calls, &error, &after, &microseconds, &begin) == 4)
        fault_arm(calls, error, after, microseconds, text + begin);
}

/* The bytes that a call may handle: all, or -1, with errno, if it fails. */
static ssize_t allow(unsigned call, const char *path, size_t size) {
    size_t length = strlen(fault.folder);
    if (!length || strncmp(path, fault.folder, length) || (path[length] && path[length] != '/'))
        return (ssize_t)size;
    if (fault.microseconds && call & (READ | WRITE | SYNC | OPEN))
        usleep((useconds_t)fault.microseconds);
    if (call)
        __atomic_fetch_add(&so_far->counts[__builtin_ctz(call)], 1, __ATOMIC_SEQ_CST);
    if (!(call & fault.calls))
        return (ssize_t)size;
    if (__atomic_fetch_add(&so_far->seen, 1, __ATOMIC_SEQ_CST) < fault.after || !fault.error)
        return (ssize_t)size;
    __atomic_fetch_add(&so_far->failed, 1, __ATOMIC_SEQ_CST);
    errno = fault.error;
    return -1;
}

static ssize_t allow_descriptor(unsigned call, int descriptor, size_t size) {
    char link[64], path[PATH_MAX];
    int before = errno;
    if (!fault.folder[0])
        return (ssize_t)size;
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t length = readlink(link, path, sizeof path - 1);
    errno = before;
    if (length < 0)
        return (ssize_t)size;
    path[length] = 0;
    return allow(call, path, size);
}

/* The same for a path that begins at a folder's descriptor. */
static ssize_t allow_path(unsigned call, int descriptor, const char *path) {
    char link[64], full[2 * PATH_MAX];
    if (!fault.folder[0])
        return 0;
    if (path[0] == '/')
        return allow(call, path, 0);
    int before = errno;
    if (descriptor == AT_FDCWD)
        snprintf(link, sizeof link, "/proc/self/cwd");
    else
        snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t length = readlink(link, full, PATH_MAX - 1);
    errno = before;
    if (length < 0)
        return 0;
    snprintf(full + length, sizeof full - (size_t)length, "/%s", path);
    return allow(call, full, 0);
}

static int open_at(const char *name, int folder, const char *path, int flags, mode_t mode) {
    unsigned call = flags & FLAGS_OF_WRITING ? OPEN : 0;
    if (allow_path(call, folder, path) < 0)
        return -1;
    return ((int (*)(int, const char *, int, ...))real(name))(folder, path, flags, mode);
}

#define OPENER(name, at)                                           \
    int name(const char *path, int flags, ...) {                   \
        va_list rest;                                              \
        va_start(rest, flags);                                     \
        mode_t mode = flags & O_CREAT ? va_arg(rest, mode_t) : 0;  \
        va_end(rest);                                              \
        return open_at(#at, AT_FDCWD, path, flags, mode);          \
    }                                                              \
    int at(int folder, const char *path, int flags, ...) {         \
        va_list rest;                                              \
        va_start(rest, flags);                                     \
        mode_t mode = flags & O_CREAT ? va_arg(rest, mode_t) : 0;  \
        va_end(rest);                                              \
        return open_at(#at, folder, path, flags, mode);            \
    }
OPENER(open, openat)
OPENER(open64, openat64)

#define SIZED(call, result, name, parameters, arguments)              \
    result name parameters {                                          \
        ssize_t allowed = allow_descriptor(call, descriptor, size);   \
        if (allowed < 0)                                              \
            return -1;                                                \
        size = (size_t)allowed;                                       \
        return REAL(name) arguments;                                  \
    }
SIZED(WRITE, ssize_t, write, (int descriptor, const void *data, size_t size), (descriptor, data, size))
SIZED(WRITE, ssize_t, pwrite, (int descriptor, const void *data, size_t size, off_t at), (descriptor, data, size, at))
SIZED(WRITE, ssize_t, pwrite64, (int descriptor, const void *data, size_t size, off64_t at), (descriptor, data, size, at))
SIZED(READ, ssize_t, read, (int descriptor, void *data, size_t size), (descriptor, data, size))
SIZED(READ, ssize_t, pread, (int descriptor, void *data, size_t size, off_t at), (descriptor, data, size, at))
SIZED(READ, ssize_t, pread64, (int descriptor, void *data, size_t size, off64_t at), (descriptor, data, size, at))
SIZED(WRITE, ssize_t, sendfile, (int descriptor, int from, off_t *at, size_t size), (descriptor, from, at, size))
SIZED(WRITE, ssize_t, sendfile64, (int descriptor, int from, off64_t *at, size_t size), (descriptor, from, at, size))

/* One part at a time: the rest is written by the next call. */
ssize_t writev(int descriptor, const struct iovec *parts, int count) {
    for (int i = 0; i < count; i++)
        if (parts[i].iov_len)
            return write(descriptor, parts[i].iov_base, parts[i].iov_len);
    return 0;
}

int fsync(int descriptor) {
    return allow_descriptor(SYNC, descriptor, 0) < 0 ? -1 : REAL(fsync)(descriptor);
}

int fdatasync(int descriptor) {
    return allow_descriptor(SYNC, descriptor, 0) < 0 ? -1 : REAL(fdatasync)(descriptor);
}

/* A file that was read only closes well. */
int close(int descriptor) {
    int before = errno, is_written = (fcntl(descriptor, F_GETFL) & O_ACCMODE) != O_RDONLY;
    errno = before;
    ssize_t allowed = is_written ? allow_descriptor(CLOSE, descriptor, 0) : 0;
    int error = errno, status = REAL(close)(descriptor);
    if (allowed < 0)
        errno = error;
    return allowed < 0 ? -1 : status;
}

int rename(const char *from, const char *to) {
    return allow_path(RENAME, AT_FDCWD, to) < 0 ? -1 : REAL(rename)(from, to);
}

int renameat(int folder, const char *from, int other, const char *to) {
    return allow_path(RENAME, other, to) < 0 ? -1 : REAL(renameat)(folder, from, other, to);
}

int mkdir(const char *path, mode_t mode) {
    return allow_path(MKDIR, AT_FDCWD, path) < 0 ? -1 : REAL(mkdir)(path, mode);
}

int mkdirat(int folder, const char *path, mode_t mode) {
    return allow_path(MKDIR, folder, path) < 0 ? -1 : REAL(mkdirat)(folder, path, mode);
}

int link(const char *from, const char *to) {
    return allow_path(LINK, AT_FDCWD, to) < 0 ? -1 : REAL(link)(from, to);
}

int linkat(int folder, const char *from, int other, const char *to, int flags) {
    return allow_path(LINK, other, to) < 0 ? -1 : REAL(linkat)(folder, from, other, to, flags);
}

int unlink(const char *path) {
    return allow_path(UNLINK, AT_FDCWD, path) < 0 ? -1 : REAL(unlink)(path);
}

int unlinkat(int folder, const char *path, int flags) {
    return allow_path(UNLINK, folder, path) < 0 ? -1 : REAL(unlinkat)(folder, path, flags);
}

int rmdir(const char *path) {
    return allow_path(UNLINK, AT_FDCWD, path) < 0 ? -1 : REAL(rmdir)(path);
}

/* The C library writes its own streams below the functions above: give it ours. */
static ssize_t stream_read(void *cookie, char *data, size_t size) {
    return read((int)(long)cookie, data, size);
}

static ssize_t stream_write(void *cookie, const char *data, size_t size) {
    ssize_t written = write((int)(long)cookie, data, size);
    return written < 0 ? 0 : written;
}

static int stream_seek(void *cookie, off64_t *at, int from) {
    off64_t place = lseek64((int)(long)cookie, *at, from);
    if (place < 0)
        return -1;
    *at = place;
    return 0;
}

static int stream_close(void *cookie) {
    return close((int)(long)cookie);
}

static FILE *open_stream(const char *name, const char *path, const char *mode) {
    size_t length = strlen(fault.folder);
    if (!length || strncmp(path, fault.folder, length))
        return ((FILE * (*)(const char *, const char *)) real(name))(path, mode);
    int is_update = strchr(mode, '+') != NULL;
    int flags = mode[0] == 'r' ? (is_update ? O_RDWR : O_RDONLY)
                               : (is_update ? O_RDWR : O_WRONLY) | O_CREAT | (mode[0] == 'w' ? O_TRUNC : O_APPEND);
    int descriptor = open(path, flags | O_CLOEXEC, 0666);
    cookie_io_functions_t functions = {stream_read, stream_write, stream_seek, stream_close};
    return descriptor < 0 ? NULL : fopencookie((void *)(long)descriptor, mode, functions);
}

FILE *fopen(const char *path, const char *mode) { return open_stream("fopen", path, mode); }
FILE *fopen64(const char *path, const char *mode) { return open_stream("fopen64", path, mode); }
