/* Records what programs write to a disk, and what they have synced.

   Loaded with LD_PRELOAD into every process of a server. Each write, truncation, sync and change of a name is appended to the
   file that RECORDER_LOG names, after it has happened and before the caller goes on. The log's order is therefore one in which
   everything may have happened, and a sync covers what was in the log when it began. Names below the folder RECORDER_ROOT are
   recorded; data are recorded of all regular files of its file system. What stdio writes from its own buffers is not seen.  */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

enum op { WRITE = 1, ZEROS, SIZE, SYNC, NAME, RENAME, REMOVE };

struct record {
    uint32_t op;
    uint32_t paths; /* bytes of the paths that follow, each with its NUL */
    uint64_t inode;
    uint64_t offset; /* SIZE: the new size; SYNC: the length of the log when it began */
    uint64_t length; /* bytes that were written */
    uint64_t stored; /* bytes of them that follow after the paths */
};

static char root[PATH_MAX];
static size_t root_length;
static int log_fd = -1;
static dev_t log_device, root_device;
static ino_t log_inode;

__attribute__((constructor)) static void begin(void) {
    const char *file = getenv("RECORDER_LOG"), *folder = getenv("RECORDER_ROOT");
    struct stat status;
    if (!file || !folder || stat(folder, &status) != 0)
        return;
    root_device = status.st_dev;
    root_length = strlen(strcpy(root, folder));
    int fd = open(file, O_WRONLY | O_APPEND | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &status) != 0)
        return;
    /* A high number, because shells and servers use the low ones. */
    log_fd = fcntl(fd, F_DUPFD_CLOEXEC, 700);
    close(fd);
    log_device = status.st_dev;
    log_inode = status.st_ino;
}

static int is_on(void) {
    struct stat status;
    return log_fd >= 0 && fstat(log_fd, &status) == 0 && status.st_ino == log_inode && status.st_dev == log_device;
}

static uint64_t log_length(void) {
    struct stat status;
    return log_fd >= 0 && fstat(log_fd, &status) == 0 ? (uint64_t)status.st_size : 0;
}

static void note(struct record *record, const char *path, const char *other, const struct iovec *data, int count) {
    int before = errno;
    struct iovec parts[4 + 64];
    int used = 0;
    record->paths = (path ? strlen(path) + 1 : 0) + (other ? strlen(other) + 1 : 0);
    parts[used++] = (struct iovec){record, sizeof *record};
    if (path)
        parts[used++] = (struct iovec){(void *)path, strlen(path) + 1};
    if (other)
        parts[used++] = (struct iovec){(void *)other, strlen(other) + 1};
    uint64_t left = record->stored;
    for (int i = 0; i < count && left; i++) {
        size_t length = data[i].iov_len < left ? data[i].iov_len : left;
        parts[used++] = (struct iovec){data[i].iov_base, length};
        left -= length;
    }
    static ssize_t (*real)(int, const struct iovec *, int);
    if (!real)
        real = dlsym(RTLD_NEXT, "writev");
    ssize_t want = 0;
    for (int i = 0; i < used; i++)
        want += parts[i].iov_len;
    if (real(log_fd, parts, used) != want) {
        static const char message[] = "recorder: the log cannot be written\n";
        if (write(2, message, sizeof message - 1)) {}
        abort();
    }
    errno = before;
}

static int is_zero(const struct iovec *data, int count, uint64_t length) {
    for (int i = 0; i < count && length; i++) {
        const char *bytes = data[i].iov_base;
        size_t size = data[i].iov_len < length ? data[i].iov_len : length;
        if (size && (bytes[0] || memcmp(bytes, bytes + 1, size - 1)))
            return 0;
        length -= size;
    }
    return 1;
}

/* Whether a file is a regular one on the recorded file system. */
static int is_recorded(int fd, struct stat *status) {
    return fstat(fd, status) == 0 && S_ISREG(status->st_mode) && status->st_dev == root_device && is_on() &&
           !(status->st_ino == log_inode && status->st_dev == log_device);
}

static void note_data(int fd, int64_t offset, const struct iovec *data, int count, ssize_t written) {
    int before = errno;
    struct stat status;
    if (written > 0 && is_recorded(fd, &status)) {
        if (offset < 0)
            offset = lseek(fd, 0, SEEK_CUR) - written;
        int zero = is_zero(data, count, written);
        struct record record = {zero ? ZEROS : WRITE, 0, status.st_ino, offset, written, zero ? 0 : written};
        note(&record, NULL, NULL, data, count);
    }
    errno = before;
}

static void note_size(int fd, uint64_t size) {
    struct stat status;
    if (is_recorded(fd, &status)) {
        struct record record = {SIZE, 0, status.st_ino, size, 0, 0};
        note(&record, NULL, NULL, NULL, 0);
    }
}

/* Write the whole path of a name to `to`; return whether it is below the root. */
static int below_root(int folder, const char *path, char *to) {
    size_t length = 0;
    if (!path || !is_on())
        return 0;
    if (path[0] != '/') {
        if (folder == AT_FDCWD) {
            if (!getcwd(to, PATH_MAX))
                return 0;
        } else {
            char link[64];
            snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
            ssize_t got = readlink(link, to, PATH_MAX - 1);
            if (got < 0)
                return 0;
            to[got] = 0;
        }
        length = strlen(to);
        to[length++] = '/';
    }
    if (strncmp(path, "./", 2) == 0)
        path += 2;
    snprintf(to + length, PATH_MAX - length, "%s", path);
    return strncmp(to, root, root_length) == 0 && to[root_length] == '/';
}

static void note_name(enum op op, int folder, const char *path, int other_folder, const char *other) {
    int before = errno;
    char whole[PATH_MAX], whole_other[PATH_MAX];
    if (below_root(folder, path, whole) && (!other || below_root(other_folder, other, whole_other))) {
        struct stat status = {0};
        if (op != REMOVE && lstat(other ? whole_other : whole, &status) != 0)
            status.st_ino = 0;
        struct record record = {op, 0, status.st_ino, S_ISDIR(status.st_mode), 0, 0};
        note(&record, whole, other ? whole_other : NULL, NULL, 0);
    }
    errno = before;
}

#define REAL(name) \
    static __typeof__(name) *real; \
    if (!real) \
        real = (__typeof__(name) *)dlsym(RTLD_NEXT, #name)

ssize_t write(int fd, const void *data, size_t size) {
    REAL(write);
    ssize_t written = real(fd, data, size);
    struct iovec one = {(void *)data, size};
    note_data(fd, -1, &one, 1, written);
    return written;
}

ssize_t writev(int fd, const struct iovec *data, int count) {
    REAL(writev);
    ssize_t written = real(fd, data, count);
    if (count <= 64)
        note_data(fd, -1, data, count, written);
    return written;
}

#define PWRITE(name, offset_type) \
    ssize_t name(int fd, const void *data, size_t size, offset_type offset) { \
        REAL(name); \
        ssize_t written = real(fd, data, size, offset); \
        struct iovec one = {(void *)data, size}; \
        note_data(fd, offset, &one, 1, written); \
        return written; \
    }
PWRITE(pwrite, off_t)
PWRITE(pwrite64, off64_t)

#define PWRITEV(name, offset_type) \
    ssize_t name(int fd, const struct iovec *data, int count, offset_type offset) { \
        REAL(name); \
        ssize_t written = real(fd, data, count, offset); \
        if (count <= 64) \
            note_data(fd, offset, data, count, written); \
        return written; \
    }
PWRITEV(pwritev, off_t)
PWRITEV(pwritev64, off64_t)

/* Copies within the kernel are refused, so that programs copy by reading and writing. */
ssize_t copy_file_range(int in, off64_t *in_offset, int out, off64_t *out_offset, size_t size, unsigned flags) {
    (void)in, (void)in_offset, (void)out, (void)out_offset, (void)size, (void)flags;
    errno = ENOSYS;
    return -1;
}

#define SYNCS(name) \
    int name(int fd) { \
        REAL(name); \
        struct stat status; \
        uint64_t covered = log_length(); \
        int result = real(fd); \
        int before = errno; \
        if (result == 0 && fstat(fd, &status) == 0 && status.st_dev == root_device && is_on()) { \
            struct record record = {SYNC, 0, status.st_ino, covered, 0, 0}; \
            note(&record, NULL, NULL, NULL, 0); \
        } \
        errno = before; \
        return result; \
    }
SYNCS(fsync)
SYNCS(fdatasync)

#define TRUNCATES(name, size_type) \
    int name(int fd, size_type size) { \
        REAL(name); \
        int result = real(fd, size); \
        int before = errno; \
        if (result == 0) \
            note_size(fd, size); \
        errno = before; \
        return result; \
    }
TRUNCATES(ftruncate, off_t)
TRUNCATES(ftruncate64, off64_t)

#define TRUNCATES_PATH(name, size_type) \
    int name(const char *path, size_type size) { \
        REAL(name); \
        int result = real(path, size); \
        int before = errno; \
        if (result == 0) { \
            int fd = open(path, O_RDONLY | O_CLOEXEC); \
            note_size(fd, size); \
            close(fd); \
        } \
        errno = before; \
        return result; \
    }
TRUNCATES_PATH(truncate, off_t)
TRUNCATES_PATH(truncate64, off64_t)

#define ALLOCATES(name, offset_type) \
    int name(int fd, offset_type offset, offset_type length) { \
        REAL(name); \
        int result = real(fd, offset, length); \
        struct stat status; \
        if (result == 0 && fstat(fd, &status) == 0) \
            note_size(fd, status.st_size); \
        return result; \
    }
ALLOCATES(posix_fallocate, off_t)
ALLOCATES(posix_fallocate64, off64_t)

static void note_opened(int fd, int folder, const char *path, int flags) {
    if (fd < 0 || !(flags & (O_CREAT | O_TRUNC)))
        return;
    int before = errno;
    if (flags & O_CREAT)
        note_name(NAME, folder, path, 0, NULL);
    if (flags & O_TRUNC)
        note_size(fd, 0);
    errno = before;
}

#define MODE(flags) \
    mode_t mode = 0; \
    if ((flags) & (O_CREAT | O_TMPFILE)) { \
        va_list rest; \
        va_start(rest, flags); \
        mode = va_arg(rest, mode_t); \
        va_end(rest); \
    }

#define OPENS(name) \
    int name(const char *path, int flags, ...) { \
        REAL(name); \
        MODE(flags) \
        int fd = real(path, flags, mode); \
        note_opened(fd, AT_FDCWD, path, flags); \
        return fd; \
    }
OPENS(open)
OPENS(open64)

#define OPENS_AT(name) \
    int name(int folder, const char *path, int flags, ...) { \
        REAL(name); \
        MODE(flags) \
        int fd = real(folder, path, flags, mode); \
        note_opened(fd, folder, path, flags); \
        return fd; \
    }
OPENS_AT(openat)
OPENS_AT(openat64)

#define STREAMS(name) \
    FILE *name(const char *path, const char *mode) { \
        REAL(name); \
        FILE *file = real(path, mode); \
        if (file && mode[0] != 'r') \
            note_opened(fileno(file), AT_FDCWD, path, O_CREAT | (mode[0] == 'w' ? O_TRUNC : 0)); \
        return file; \
    }
STREAMS(fopen)
STREAMS(fopen64)

int rename(const char *from, const char *to) {
    REAL(rename);
    int result = real(from, to);
    if (result == 0)
        note_name(RENAME, AT_FDCWD, from, AT_FDCWD, to);
    return result;
}

int renameat(int from_folder, const char *from, int to_folder, const char *to) {
    REAL(renameat);
    int result = real(from_folder, from, to_folder, to);
    if (result == 0)
        note_name(RENAME, from_folder, from, to_folder, to);
    return result;
}

int unlink(const char *path) {
    REAL(unlink);
    int result = real(path);
    if (result == 0)
        note_name(REMOVE, AT_FDCWD, path, 0, NULL);
    return result;
}

int unlinkat(int folder, const char *path, int flags) {
    REAL(unlinkat);
    int result = real(folder, path, flags);
    if (result == 0)
        note_name(REMOVE, folder, path, 0, NULL);
    return result;
}

int rmdir(const char *path) {
    REAL(rmdir);
    int result = real(path);
    if (result == 0)
        note_name(REMOVE, AT_FDCWD, path, 0, NULL);
    return result;
}

int mkdir(const char *path, mode_t mode) {
    REAL(mkdir);
    int result = real(path, mode);
    if (result == 0)
        note_name(NAME, AT_FDCWD, path, 0, NULL);
    return result;
}

int mkdirat(int folder, const char *path, mode_t mode) {
    REAL(mkdirat);
    int result = real(folder, path, mode);
    if (result == 0)
        note_name(NAME, folder, path, 0, NULL);
    return result;
}
