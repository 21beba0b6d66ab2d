/* A faulty disk for tests, preloaded (LD_PRELOAD) into climb, its tasks and the programs they start.
 *
 * It stands before the libc calls that change files, for paths below one folder, and does what the
 * control file named by $CLIMB_FAULTS says: fail the n-th change of all processes together, and
 * maybe all after it, or append each change with its data to a log for the replay of a power loss.
 * The folder is `.climb` beside the control file, the log `changes.log`. The Rust side is layer.rs.
 *
 * Real calls are made with syscall(2). Copies within the kernel are refused, so that callers fall
 * back to write(2). Programs that write with stdio do so within libc and are not seen. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum { STICKY = 1, SHORT = 2, LOG = 4 };
enum kind { CREATE = 1, TRUNCATE, WRITE, SYNC, SYNC_FOLDER, SYNC_RANGE, MKDIR, RENAME, LINK, UNLINK, RMDIR };

/* The control file. layer.rs writes the first four and reads the rest. */
struct control {
    int64_t at;    /* which change fails, from 1; 0: none */
    int32_t error; /* its errno */
    int32_t mode;
    int64_t seen; /* changes so far */
    int32_t hit;  /* whether something failed, and its kind */
    char path[1024];
};

/* One change in the log; both paths and the data follow. */
struct change {
    uint32_t kind, path_length, other_length, data_length;
    uint64_t inode;
    int64_t number; /* an offset, a length, or for a sync the size of the log when it began */
};

static struct control *control;
static char root[PATH_MAX], log_path[PATH_MAX];

__attribute__((constructor)) static void begin(void) {
    char file[PATH_MAX];
    const char *name = getenv("CLIMB_FAULTS");
    if (!name || !realpath(name, file)) return;
    int fd = syscall(SYS_openat, AT_FDCWD, file, O_RDWR | O_CLOEXEC, 0);
    if (fd < 0) return;
    void *map = mmap(NULL, sizeof(struct control), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    syscall(SYS_close, fd);
    if (map == MAP_FAILED) return;
    int folder = strrchr(file, '/') - file;
    snprintf(root, sizeof root, "%.*s/.climb", folder, file);
    snprintf(log_path, sizeof log_path, "%.*s/changes.log", folder, file);
    control = map;
}

static int link_target(const char *link, char *out) {
    ssize_t n = syscall(SYS_readlinkat, AT_FDCWD, link, out, PATH_MAX - 1);
    if (n < 0) return 0;
    out[n] = 0;
    return 1;
}

static int watched(const char *path) {
    size_t n = strlen(root);
    return !strncmp(path, root, n) && (path[n] == 0 || path[n] == '/');
}

/* Whether a descriptor is of a watched file, and its path. */
static int watched_fd(int fd, char *path) {
    char link[64];
    if (!control) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    return link_target(link, path) && watched(path);
}

/* Whether a path is watched, and what it is in full. */
static int watched_at(int dir, const char *name, char *path) {
    char folder[PATH_MAX], link[64] = "/proc/self/cwd";
    if (!control || !name) return 0;
    if (name[0] == '/') {
        snprintf(path, PATH_MAX, "%s", name);
        return watched(path);
    }
    if (dir != AT_FDCWD) snprintf(link, sizeof link, "/proc/self/fd/%d", dir);
    if (!link_target(link, folder)) return 0;
    if (snprintf(path, PATH_MAX, "%s/%s", folder, name) >= PATH_MAX) return 0;
    return watched(path);
}

static int logging(void) { return control->mode & LOG; }
static void record(enum kind kind, const char *path, const char *other, uint64_t inode, int64_t number,
                   const void *data, size_t length) {
    if (!logging()) return;
    int before = errno;
    struct change change = {kind, strlen(path), strlen(other), length, inode, number};
    struct iovec parts[] = {{&change, sizeof change},
                            {(void *)path, change.path_length},
                            {(void *)other, change.other_length},
                            {(void *)data, length}};
    /* Opened each time: a descriptor kept open might be closed or reused by the program. */
    int fd = syscall(SYS_openat, AT_FDCWD, log_path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
    ssize_t whole = sizeof change + change.path_length + change.other_length + length;
    if (fd < 0 || syscall(SYS_writev, fd, parts, 4) != whole) abort();
    syscall(SYS_close, fd);
    errno = before;
}

static uint64_t inode_of(int fd) {
    struct stat meta;
    return fstat(fd, &meta) ? 0 : meta.st_ino;
}

/* Counts a change that is about to happen. Returns whether it is to fail: 1, or 2 for a write of
 * which half is to be done. */
static int counted(enum kind kind, const char *path) {
    int64_t now = __atomic_add_fetch(&control->seen, 1, __ATOMIC_SEQ_CST);
    int64_t at = control->at;
    if (at == 0 || now < at) return 0;
    int short_write = control->mode & SHORT;
    if (short_write && now == at) return kind == WRITE ? 2 : 0;
    int first = now == at + (short_write ? 1 : 0);
    if (!first && !(control->mode & STICKY)) return 0;
    /* A full disk can still be emptied. */
    if (!first && control->error == ENOSPC && (kind == UNLINK || kind == RMDIR)) return 0;
    if (!__atomic_exchange_n(&control->hit, kind, __ATOMIC_SEQ_CST))
        snprintf(control->path, sizeof control->path, "%s", path);
    errno = control->error;
    return 1;
}

static int do_open(int dir, const char *name, int flags, mode_t mode) {
    char path[PATH_MAX];
    int writes = (flags & O_ACCMODE) != O_RDONLY;
    if (!watched_at(dir, name, path) || !(flags & (O_CREAT | O_TRUNC)) || !writes)
        return syscall(SYS_openat, dir, name, flags, mode);
    int is_new = syscall(SYS_faccessat, dir, name, F_OK) != 0;
    if (is_new && (flags & O_CREAT) && counted(CREATE, path)) return -1;
    int fd = syscall(SYS_openat, dir, name, flags, mode);
    if (fd >= 0 && (is_new || flags & O_TRUNC)) record(is_new ? CREATE : TRUNCATE, path, "", inode_of(fd), 0, NULL, 0);
    return fd;
}

#define OPEN(NAME, PARAMETERS, DIR)                            \
    int NAME PARAMETERS {                                      \
        mode_t mode = 0;                                       \
        if (flags & (O_CREAT | O_TMPFILE)) {                   \
            va_list rest;                                      \
            va_start(rest, flags);                             \
            mode = va_arg(rest, mode_t);                       \
            va_end(rest);                                      \
        }                                                      \
        return do_open(DIR, name, flags, mode);                \
    }
OPEN(open, (const char *name, int flags, ...), AT_FDCWD)
OPEN(open64, (const char *name, int flags, ...), AT_FDCWD)
OPEN(openat, (int dir, const char *name, int flags, ...), dir)
OPEN(openat64, (int dir, const char *name, int flags, ...), dir)

/* `at` < 0: where the file's position is. */
static ssize_t do_write(int fd, const void *data, size_t length, off_t at) {
    char path[PATH_MAX];
    int fate = 0, seen = length > 0 && watched_fd(fd, path);
    if (seen) fate = counted(WRITE, path);
    if (fate == 1) return -1;
    if (fate == 2 && length > 1) length /= 2;
    ssize_t n = at < 0 ? syscall(SYS_write, fd, data, length) : syscall(SYS_pwrite64, fd, data, length, at);
    if (seen && n > 0 && logging()) {
        int64_t offset = at < 0 ? syscall(SYS_lseek, fd, 0, SEEK_CUR) - n : at;
        record(WRITE, path, "", inode_of(fd), offset, data, n);
    }
    return n;
}
ssize_t write(int fd, const void *data, size_t length) { return do_write(fd, data, length, -1); }
ssize_t pwrite(int fd, const void *data, size_t length, off_t at) { return do_write(fd, data, length, at); }
ssize_t pwrite64(int fd, const void *data, size_t length, off_t at) { return do_write(fd, data, length, at); }
ssize_t writev(int fd, const struct iovec *parts, int count) {
    char path[PATH_MAX];
    if (!watched_fd(fd, path)) return syscall(SYS_writev, fd, parts, count);
    /* A short write is one that callers must expect: only the first part that has something. */
    while (count > 1 && !parts->iov_len) parts++, count--;
    return count > 0 ? do_write(fd, parts->iov_base, parts->iov_len, -1) : 0;
}

/* The folder that has the watched one: syncing it makes that one's name last. */
static int above(const char *path) {
    size_t n = strlen(path);
    return !strncmp(root, path, n) && !strcmp(root + n, "/.climb");
}

static int do_sync(long call, int fd) {
    char path[PATH_MAX];
    if (!control || !(watched_fd(fd, path) || above(path))) return syscall(call, fd);
    struct stat meta, log;
    int known = fstat(fd, &meta) == 0;
    enum kind kind = known && S_ISDIR(meta.st_mode) ? SYNC_FOLDER : SYNC;
    if (counted(kind, path)) return -1;
    /* What others do meanwhile is not covered. */
    int64_t begun = stat(log_path, &log) ? 0 : log.st_size;
    int result = syscall(call, fd);
    if (result == 0) record(kind, path, "", meta.st_ino, begun, NULL, 0);
    return result;
}
int fsync(int fd) { return do_sync(SYS_fsync, fd); }
int fdatasync(int fd) { return do_sync(SYS_fdatasync, fd); }
int sync_file_range(int fd, off64_t at, off64_t length, unsigned flags) {
    char path[PATH_MAX];
    if (watched_fd(fd, path)) {
        if (counted(SYNC_RANGE, path)) return -1;
        record(SYNC_RANGE, path, "", inode_of(fd), at, NULL, 0);
    }
    return syscall(SYS_sync_file_range, fd, at, length, flags);
}

int renameat2(int a, const char *from, int b, const char *to, unsigned flags) {
    char path[PATH_MAX], other[PATH_MAX];
    int seen = watched_at(a, from, path);
    seen = watched_at(b, to, other) && seen;
    if (seen && counted(RENAME, other)) return -1;
    int result = syscall(SYS_renameat2, a, from, b, to, flags);
    if (seen && result == 0) record(RENAME, path, other, 0, 0, NULL, 0);
    return result;
}
int renameat(int a, const char *from, int b, const char *to) { return renameat2(a, from, b, to, 0); }
int rename(const char *from, const char *to) { return renameat2(AT_FDCWD, from, AT_FDCWD, to, 0); }

int linkat(int a, const char *from, int b, const char *to, int flags) {
    char path[PATH_MAX], other[PATH_MAX];
    int seen = watched_at(b, to, other);
    if (seen && counted(LINK, other)) return -1;
    int result = syscall(SYS_linkat, a, from, b, to, flags);
    if (seen && result == 0 && logging()) {
        if (!watched_at(a, from, path)) abort(); /* its data would not be in the log */
        record(LINK, path, other, 0, 0, NULL, 0);
    }
    return result;
}
int link(const char *from, const char *to) { return linkat(AT_FDCWD, from, AT_FDCWD, to, 0); }
int mkdirat(int dir, const char *name, mode_t mode) {
    char path[PATH_MAX];
    int seen = watched_at(dir, name, path);
    /* One that is there fails by itself. */
    if (seen && syscall(SYS_faccessat, dir, name, F_OK) != 0 && counted(MKDIR, path)) return -1;
    int result = syscall(SYS_mkdirat, dir, name, mode);
    if (seen && result == 0) record(MKDIR, path, "", 0, 0, NULL, 0);
    return result;
}
int mkdir(const char *name, mode_t mode) { return mkdirat(AT_FDCWD, name, mode); }
int unlinkat(int dir, const char *name, int flags) {
    char path[PATH_MAX];
    enum kind kind = flags & AT_REMOVEDIR ? RMDIR : UNLINK;
    int seen = watched_at(dir, name, path) && syscall(SYS_faccessat, dir, name, F_OK) == 0;
    if (seen && counted(kind, path)) return -1;
    int result = syscall(SYS_unlinkat, dir, name, flags);
    if (seen && result == 0) record(kind, path, "", 0, 0, NULL, 0);
    return result;
}
int unlink(const char *name) { return unlinkat(AT_FDCWD, name, 0); }
int rmdir(const char *name) { return unlinkat(AT_FDCWD, name, AT_REMOVEDIR); }

int ftruncate64(int fd, off64_t length) {
    char path[PATH_MAX];
    int seen = watched_fd(fd, path);
    if (seen && counted(TRUNCATE, path)) return -1;
    int result = syscall(SYS_ftruncate, fd, length);
    if (seen && result == 0) record(TRUNCATE, path, "", inode_of(fd), length, NULL, 0);
    return result;
}
int ftruncate(int fd, off_t length) { return ftruncate64(fd, length); }

/* Refused for watched files; callers fall back to what is above, or say so. */
#define REFUSE(TYPE, NAME, PARAMETERS, ARGUMENTS, FD, ERROR) \
    TYPE NAME PARAMETERS {                                         \
        char path[PATH_MAX];                                       \
        if (watched_fd(FD, path)) {                                \
            errno = ERROR;                                         \
            return -1;                                             \
        }                                                          \
        return syscall ARGUMENTS;                                  \
    }
REFUSE(ssize_t, copy_file_range, (int a, off64_t *x, int b, off64_t *y, size_t n, unsigned f),
       (SYS_copy_file_range, a, x, b, y, n, f), b, ENOSYS)
REFUSE(ssize_t, sendfile, (int to, int from, off_t *at, size_t n), (SYS_sendfile, to, from, at, n), to, EINVAL)
REFUSE(ssize_t, sendfile64, (int to, int from, off64_t *at, size_t n), (SYS_sendfile, to, from, at, n), to, EINVAL)
REFUSE(ssize_t, splice, (int a, off64_t *x, int b, off64_t *y, size_t n, unsigned f),
       (SYS_splice, a, x, b, y, n, f), b, EINVAL)
REFUSE(int, fallocate, (int fd, int mode, off_t at, off_t n), (SYS_fallocate, fd, mode, at, n), fd, EOPNOTSUPP)
REFUSE(int, fallocate64, (int fd, int mode, off64_t at, off64_t n), (SYS_fallocate, fd, mode, at, n), fd, EOPNOTSUPP)
