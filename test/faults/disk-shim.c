/*
 * Preloaded into the gateway's process by disk-faults.ts: makes the disk of the journal fail, or ends the process at a point that a
 * signal from outside would hit by luck alone. What syncs is fsync, fdatasync, and a write of a file that was opened with O_DSYNC, whose
 * bytes are in the kernel's hands by then. The first byte of the file that DISK_FAULT_FILE names says what; it may change at any
 * time. Everything but the segments of the journal, and every other program, is left alone.
 *
 *   e  what syncs fails: EIO                  w  it takes 3 s
 *   r  the file system is read-only: EROFS    f  it is full: ENOSPC
 *   s  ends between write and sync            t  ends in the middle of a write
 *   d  ends when a further segment was made   i  ends in mid-ship, the INSERT being sent
 *   c  ends when the COMMIT after it was sent: nobody will have heard of its outcome
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static const volatile char *control;
static volatile int shipping = -1;

__attribute__((constructor)) static void begin(void) {
  const char *name = getenv("DISK_FAULT_FILE");
  if (name == NULL || strcmp(program_invocation_short_name, "node") != 0) return;
  int fd = open(name, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return;
  void *map = mmap(NULL, 1, PROT_READ, MAP_SHARED, fd, 0);
  close(fd);
  if (map != MAP_FAILED) control = map;
}

static char fault(void) { return control == NULL ? '-' : *control; }

static void end(void) { kill(getpid(), SIGKILL); }

static int ends_with(const char *text, size_t length, const char *end) {
  size_t n = strlen(end);
  return length >= n && memcmp(text + length - n, end, n) == 0;
}

static int is_segment_path(const char *path) { return ends_with(path, strlen(path), ".jsonl"); }

static int is_segment(int fd) {
  char link[64], path[4096];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t length = readlink(link, path, sizeof path);
  return length > 0 && ends_with(path, (size_t)length, ".jsonl");
}

static int refuse(int code) {
  errno = code;
  return -1;
}

static int sync_as(const char *name, int fd) {
  int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
  char now = fault();
  if ((now == 'e' || now == 'w' || now == 's' || now == 'r') && is_segment(fd)) {
    if (now == 's') end();
    if (now == 'e') return refuse(EIO);
    if (now == 'r') return refuse(EROFS);
    sleep(3);
  }
  return real(fd);
}

int fdatasync(int fd) { return sync_as("fdatasync", fd); }
int fsync(int fd) { return sync_as("fsync", fd); }

static int writes_through(int fd) {
  int flags = fcntl(fd, F_GETFL);
  return flags != -1 && (flags & O_DSYNC) != 0;
}

static ssize_t pwrite_as(const char *name, int fd, const void *bytes, size_t length, off_t at) {
  ssize_t (*real)(int, const void *, size_t, off_t) = (ssize_t(*)(int, const void *, size_t, off_t))dlsym(RTLD_NEXT, name);
  char now = fault();
  if ((now == 'r' || now == 'f' || now == 't') && is_segment(fd)) {
    if (now == 'r') return refuse(EROFS);
    if (now == 'f') return refuse(ENOSPC);
    real(fd, bytes, length / 2, at);
    end();
  }
  if ((now == 'e' || now == 'w' || now == 's') && is_segment(fd) && writes_through(fd)) {
    ssize_t written = real(fd, bytes, length, at);
    if (now == 's') end();
    if (now == 'e') return refuse(EIO);
    sleep(3);
    return written;
  }
  return real(fd, bytes, length, at);
}

ssize_t pwrite(int fd, const void *bytes, size_t length, off_t at) { return pwrite_as("pwrite", fd, bytes, length, at); }
ssize_t pwrite64(int fd, const void *bytes, size_t length, off_t at) { return pwrite_as("pwrite64", fd, bytes, length, at); }

static int open_as(const char *name, const char *path, int flags, mode_t mode) {
  int (*real)(const char *, int, ...) = (int (*)(const char *, int, ...))dlsym(RTLD_NEXT, name);
  char now = fault();
  int makes = (flags & O_CREAT) != 0;
  if (makes && (now == 'r' || now == 'f') && strstr(path, "/journal/") != NULL) return refuse(now == 'r' ? EROFS : ENOSPC);
  int fd = real(path, flags, mode);
  if (makes && now == 'd' && is_segment_path(path) && !ends_with(path, strlen(path), ".000000000000.jsonl")) end();
  return fd;
}

#define OPEN(name)                                  \
  int name(const char *path, int flags, ...) {      \
    va_list rest;                                   \
    va_start(rest, flags);                          \
    mode_t mode = (flags & O_CREAT) ? va_arg(rest, mode_t) : 0; \
    va_end(rest);                                   \
    return open_as(#name, path, flags, mode);       \
  }
OPEN(open)
OPEN(open64)

/* What goes to the database: which statement is it? */
static void see(int fd, const void *bytes, size_t length) {
  char now = fault();
  if (now != 'i' && now != 'c') return;
  if (memmem(bytes, length, "insert into journal (", 21) != NULL) {
    shipping = fd;
    if (now == 'i') end();
  } else if (now == 'c' && fd == shipping && memmem(bytes, length, "commit", 6) != NULL) end();
}

ssize_t write(int fd, const void *bytes, size_t length) {
  ssize_t (*real)(int, const void *, size_t) = (ssize_t(*)(int, const void *, size_t))dlsym(RTLD_NEXT, "write");
  ssize_t written = real(fd, bytes, length);
  if (written > 0) see(fd, bytes, (size_t)written);
  return written;
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
  ssize_t (*real)(int, const struct iovec *, int) = (ssize_t(*)(int, const struct iovec *, int))dlsym(RTLD_NEXT, "writev");
  ssize_t written = real(fd, parts, count);
  for (int i = 0; written > 0 && i < count; i += 1) see(fd, parts[i].iov_base, parts[i].iov_len);
  return written;
}
