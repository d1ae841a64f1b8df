/* Shifts the wall clock that a process sees, and the kernel's receive stamps with it.

   Loaded with LD_PRELOAD. $SHIFTED_CLOCK names a file of two 64-bit integers (ns): the real time
   from which on the wall clock is shifted, 0 for never; and by how much. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static volatile int64_t *shift;

__attribute__((constructor)) static void map(void) {
    const char *path = getenv("SHIFTED_CLOCK");
    int fd = path ? open(path, O_RDONLY) : -1;
    void *page = fd < 0 ? MAP_FAILED : mmap(NULL, 16, PROT_READ, MAP_SHARED, fd, 0);
    if (page != MAP_FAILED)
        shift = page;
    if (fd >= 0)
        close(fd);
}

static void shifted(struct timespec *t) {
    int64_t now = t->tv_sec * 1000000000LL + t->tv_nsec;
    if (!shift || !shift[0] || now < shift[0])
        return;
    now += shift[1];
    t->tv_sec = now / 1000000000LL;
    t->tv_nsec = now % 1000000000LL;
}

int clock_gettime(clockid_t id, struct timespec *t) {
    int failed = syscall(SYS_clock_gettime, id, t);
    if (!failed && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE))
        shifted(t);
    return failed;
}

int gettimeofday(struct timeval *t, void *zone) {
    struct timespec now;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &now);
    t->tv_sec = now.tv_sec;
    t->tv_usec = now.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *t) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (t)
        *t = now.tv_sec;
    return now.tv_sec;
}

int recvmmsg(int fd, struct mmsghdr *messages, unsigned count, int flags, struct timespec *wait) {
    int n = syscall(SYS_recvmmsg, fd, messages, count, flags, wait);
    for (int i = 0; i < n; i++) {
        struct msghdr *head = &messages[i].msg_hdr;
        for (struct cmsghdr *c = CMSG_FIRSTHDR(head); c; c = CMSG_NXTHDR(head, c))
            if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_TIMESTAMPNS) {
                struct timespec stamp;
                memcpy(&stamp, CMSG_DATA(c), sizeof stamp);
                shifted(&stamp);
                memcpy(CMSG_DATA(c), &stamp, sizeof stamp);
            }
    }
    return n;
}
