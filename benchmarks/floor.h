/* What the two sides of a floor launch share. */
#ifndef FLOOR_H
#define FLOOR_H

#include <linux/filter.h>

#define COUNT_OF(array) (sizeof(array) / sizeof *(array))

enum level { EXEC, NAMESPACES, ROOT, WHOLE };

/* One launch, as both sides of the clone see it. */
struct launch {
	enum level level;
	int channel[2];       /* parent's end, child's end; closed by exec: the success signal */
	int output[2];        /* a pipe each for standard output and error */
	int error[2];
	int cgroup_fds[2];    /* cgroup.procs on version 1, the directory on version 2 */
	char cgroups[2][256];
};

extern const char *layer;        /* the lower directory */
extern struct sock_fprog filter; /* length 0: none */
extern int cgroup_count;         /* 1 for cgroups version 2, else version 1's pids and memory */
extern int report_fd;            /* standard error, or a child's channel to its parent */

/* Report `what` and errno, and end. */
_Noreturn void fail(const char *what);
/* Give a system call's result; a negative one ends the program. */
int must(long result, const char *what);
void write_text(const char *path, const char *text);

/* Make a detached mount of a new file system; the options are pairs of strings, ended by NULL. */
int new_mount(const char *fstype, unsigned attributes, ...);
/* Attach a detached mount at a path, or with an empty path at `target_fd` itself. */
void attach(int mount_fd, int target_fd, const char *target);

/* Become the container: never returns. */
_Noreturn void contain(struct launch *launch);

#endif
