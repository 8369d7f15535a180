/*
 * The floor: what a container costs in C, with nothing above the kernel.
 *
 *   floor ROOT FILTER CGROUP [CGROUP]
 *
 * makes the kernel objects that pycontainers makes for `run(["/bin/true"], ephemeral)`: ROOT is the
 * lower layer, FILTER a file with the compiled seccomp program ("-" for none), and the CGROUPs are
 * the directory for new cgroups on version 2, or those of the pids and memory hierarchies on
 * version 1.  Each line "LEVEL COUNT" on standard input asks for COUNT launches; each launch
 * answers with a line of nanoseconds.  End of file ends the program.
 *
 * Levels, each with all of those before it:
 *   0  two pipes, clone3, execve, wait
 *   1  user (mapped), mount, PID, UTS, IPC and cgroup namespaces
 *   2  overlay on an idmapped layer, pivot_root, network namespace
 *   3  cgroups, kernel file systems, /dev, masked paths, capabilities, seccomp: the whole container
 */
#define _GNU_SOURCE
#include "floor.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/sched.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define FIRST_ID 1879048192u
#define ID_COUNT 65536u

static const struct { const char *name; int minor; } DEVICES[] = {
	{"null", 3}, {"zero", 5}, {"full", 7}, {"random", 8}, {"urandom", 9}, {"tty", 0},
};
static const char *const LINKS[][2] = {
	{"fd", "/proc/self/fd"}, {"stdin", "/proc/self/fd/0"}, {"stdout", "/proc/self/fd/1"},
	{"stderr", "/proc/self/fd/2"}, {"ptmx", "pts/ptmx"},
};

const char *layer;
struct sock_fprog filter;
int cgroup_count;
int report_fd = STDERR_FILENO;

static char **cgroup_parents; /* as in argv */
static int detached_layers;   /* whether overlay takes them: Linux 6.15 */

void fail(const char *what)
{
	dprintf(report_fd, "floor: %s: %s\n", what, strerror(errno));
	_exit(1);
}

int must(long result, const char *what)
{
	if (result < 0)
		fail(what);
	return (int)result;
}

static int64_t now(void)
{
	struct timespec time;
	must(clock_gettime(CLOCK_MONOTONIC, &time), "clock_gettime");
	return time.tv_sec * 1000000000LL + time.tv_nsec;
}

void write_text(const char *path, const char *text)
{
	int fd = must(open(path, O_WRONLY | O_CLOEXEC), path);
	must(write(fd, text, strlen(text)), path);
	close(fd);
}

static void read_away(const char *directory, const char *name)
{
	char path[512], buffer[1024];
	snprintf(path, sizeof path, "%s/%s", directory, name);
	int fd = must(open(path, O_RDONLY | O_CLOEXEC), path);
	must(read(fd, buffer, sizeof buffer), path);
	close(fd);
}

/* ---- mounts ---- */

int new_mount(const char *fstype, unsigned attributes, ...)
{
	int context = must(fsopen(fstype, FSOPEN_CLOEXEC), fstype);
	va_list options;
	va_start(options, attributes);
	for (const char *key; (key = va_arg(options, const char *));)
		must(fsconfig(context, FSCONFIG_SET_STRING, key, va_arg(options, const char *), 0), key);
	va_end(options);
	must(fsconfig(context, FSCONFIG_CMD_CREATE, NULL, NULL, 0), fstype);
	int fd = must(fsmount(context, FSMOUNT_CLOEXEC, attributes), fstype);
	close(context);
	return fd;
}

void attach(int mount_fd, int target_fd, const char *target)
{
	unsigned flags = MOVE_MOUNT_F_EMPTY_PATH | (*target ? 0 : MOVE_MOUNT_T_EMPTY_PATH);
	must(move_mount(mount_fd, "", target_fd, target, flags), "move_mount");
}

/* Overlay finds the owner of what it makes inside the id map, so files are made as that owner. */
static void make_files_as(unsigned id)
{
	setfsgid(id);
	setfsuid(id);
	if (id) {
		/* Leaving fsuid 0 took the capabilities over files away (capabilities(7)). */
		struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
		struct __user_cap_data_struct data[2];
		must(syscall(SYS_capget, &header, data), "capget");
		data[0].effective = data[0].permitted;
		data[1].effective = data[1].permitted;
		must(syscall(SYS_capset, &header, data), "capset");
	}
}

/* Before Linux 6.15 overlay takes attached layers only: a tmpfs holds them for a moment. */
static int overlay_of_staged(int lower_fd, int upper_fd)
{
	const char *options = "lowerdir=/tmp/lower,upperdir=/tmp/changes/upper,workdir=/tmp/changes/work,"
		"index=off,metacopy=off,redirect_dir=off";
	must(mount("stage", "/tmp", "tmpfs", 0, "mode=0755"), "mount stage");
	must(mkdir("/tmp/lower", 0755), "mkdir lower");
	must(mkdir("/tmp/changes", 0755), "mkdir changes");
	must(mkdir("/tmp/merged", 0755), "mkdir merged");
	attach(lower_fd, AT_FDCWD, "/tmp/lower");
	attach(upper_fd, AT_FDCWD, "/tmp/changes");
	must(mount("overlay", "/tmp/merged", "overlay", MS_NODEV | MS_NOSUID, options), "mount overlay");
	int root_fd = must(open_tree(AT_FDCWD, "/tmp/merged", OPEN_TREE_CLONE | O_CLOEXEC), "open_tree");
	must(umount2("/tmp", MNT_DETACH), "umount stage");
	return root_fd;
}

static int overlay_of_detached(int lower_fd, int upper_fd)
{
	char lower[64], upper[64], work[64];
	snprintf(lower, sizeof lower, "/proc/self/fd/%d", lower_fd);
	snprintf(upper, sizeof upper, "/proc/self/fd/%d/upper", upper_fd);
	snprintf(work, sizeof work, "/proc/self/fd/%d/work", upper_fd);
	return new_mount("overlay", MOUNT_ATTR_NODEV | MOUNT_ATTR_NOSUID, "lowerdir+", lower, "upperdir",
		upper, "workdir", work, "index", "off", "metacopy", "off", "redirect_dir", "off", NULL);
}

static int mount_root(int userns_fd)
{
	struct mount_attr attributes = {
		.attr_set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_IDMAP, .userns_fd = (uint64_t)userns_fd,
	};
	int lower_fd = must(open_tree(AT_FDCWD, layer, OPEN_TREE_CLONE | O_CLOEXEC), layer);
	must(mount_setattr(lower_fd, "", AT_EMPTY_PATH, &attributes, sizeof attributes), "idmap");
	int upper_fd = new_mount("tmpfs", 0, "mode", "0755", NULL);
	must(mkdirat(upper_fd, "upper", 0755), "mkdir upper");
	must(mkdirat(upper_fd, "work", 0755), "mkdir work");
	int root_fd = detached_layers ? overlay_of_detached(lower_fd, upper_fd)
	                              : overlay_of_staged(lower_fd, upper_fd);
	close(lower_fd);
	close(upper_fd);
	return root_fd;
}

/* The nodes are made out here: no user namespace may make a device. */
static int make_dev(void)
{
	static const char *const directories[] = {"pts", "shm", "mqueue"};
	unsigned attributes = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC;
	int fd = new_mount("tmpfs", attributes, "mode", "0755", "size", "65536k", NULL);
	for (size_t i = 0; i < COUNT_OF(directories); i++)
		must(mkdirat(fd, directories[i], 0755), directories[i]);
	for (size_t i = 0; i < COUNT_OF(LINKS); i++)
		must(symlinkat(LINKS[i][1], fd, LINKS[i][0]), LINKS[i][0]);
	for (size_t i = 0; i < COUNT_OF(DEVICES); i++) {
		int major = strcmp(DEVICES[i].name, "tty") ? 1 : 5;
		dev_t device = makedev(major, DEVICES[i].minor);
		must(mknodat(fd, DEVICES[i].name, S_IFCHR | 0666, device), DEVICES[i].name);
	}
	return fd;
}

/* ---- the parent's side ---- */

static void make_cgroups(struct launch *launch)
{
	static unsigned serial;
	char path[512];
	serial++;
	for (int i = 0; i < cgroup_count; i++) {
		char *directory = launch->cgroups[i];
		snprintf(directory, sizeof launch->cgroups[i], "%s/%u", cgroup_parents[i], serial);
		must(mkdir(directory, 0755), directory);
		snprintf(path, sizeof path, "%s/%s", directory, cgroup_count == 1 ? "" : "cgroup.procs");
		int flags = cgroup_count == 1 ? O_RDONLY | O_DIRECTORY : O_WRONLY;
		launch->cgroup_fds[i] = must(open(path, flags | O_CLOEXEC), path);
	}
	snprintf(path, sizeof path, "%s/pids.max", launch->cgroups[0]);
	write_text(path, "4096");
}

static void remove_cgroups(struct launch *launch)
{
	const char *memory = launch->cgroups[cgroup_count - 1];
	read_away(memory, cgroup_count == 1 ? "memory.peak" : "memory.max_usage_in_bytes");
	read_away(memory, cgroup_count == 1 ? "memory.events" : "memory.oom_control");
	for (int i = 0; i < cgroup_count; i++) {
		close(launch->cgroup_fds[i]);
		must(rmdir(launch->cgroups[i]), launch->cgroups[i]);
	}
}

static pid_t give_birth(struct launch *launch, int *pidfd)
{
	struct clone_args arguments = {
		.flags = CLONE_PIDFD, .pidfd = (uintptr_t)pidfd, .exit_signal = SIGCHLD,
	};
	if (launch->level >= NAMESPACES)
		arguments.flags |= CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWUTS | CLONE_NEWIPC;
	if (launch->level >= ROOT)
		arguments.flags |= CLONE_NEWNET;
	if (launch->level == WHOLE && cgroup_count == 1) {
		arguments.flags |= CLONE_INTO_CGROUP;
		arguments.cgroup = (uint64_t)launch->cgroup_fds[0];
	}
	return must(syscall(SYS_clone3, &arguments, sizeof arguments), "clone3");
}

/* Map the ids and, from level 2, make the mounts that the container has no right to make. */
static void prepare(pid_t pid, struct launch *launch)
{
	char path[64], map[64], byte = 0, control[CMSG_SPACE(2 * sizeof(int))] = {0};
	struct iovec data = {&byte, 1};
	struct msghdr message = {.msg_iov = &data, .msg_iovlen = 1};
	int fds[2], count = 0;
	snprintf(map, sizeof map, "0 %u %u", FIRST_ID, ID_COUNT);
	snprintf(path, sizeof path, "/proc/%d/uid_map", pid);
	write_text(path, map);
	snprintf(path, sizeof path, "/proc/%d/gid_map", pid);
	write_text(path, map);
	if (launch->level >= ROOT) {
		snprintf(path, sizeof path, "/proc/%d/ns/user", pid);
		int userns_fd = must(open(path, O_RDONLY | O_CLOEXEC), path);
		make_files_as(FIRST_ID);
		fds[count++] = mount_root(userns_fd);
		if (launch->level == WHOLE)
			fds[count++] = make_dev();
		make_files_as(0);
		close(userns_fd);
		message.msg_control = control;
		message.msg_controllen = CMSG_SPACE(count * sizeof(int));
		struct cmsghdr *header = CMSG_FIRSTHDR(&message);
		*header = (struct cmsghdr){
			.cmsg_len = CMSG_LEN(count * sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS,
		};
		memcpy(CMSG_DATA(header), fds, count * sizeof(int));
	}
	if (launch->level == WHOLE) {
		struct rlimit none = {0, 0};
		must(prlimit(pid, RLIMIT_CORE, &none, NULL), "prlimit");
	}
	must(sendmsg(launch->channel[0], &message, MSG_NOSIGNAL), "sendmsg");
	while (count > 0)
		close(fds[--count]);
}

/* Wait for the exec, or the report of why there is none; then read both pipes to the end. */
static void read_streams(struct launch *launch)
{
	char buffer[4096];
	ssize_t length = must(read(launch->channel[0], buffer, sizeof buffer), "read the channel");
	if (length > 0) {
		must(write(STDERR_FILENO, buffer, (size_t)length), "write");
		exit(1);
	}
	struct pollfd streams[] = {{launch->output[0], POLLIN, 0}, {launch->error[0], POLLIN, 0}};
	for (int open_streams = 2; open_streams > 0;) {
		must(poll(streams, 2, -1), "poll");
		for (int i = 0; i < 2; i++)
			if (streams[i].revents && read(streams[i].fd, buffer, sizeof buffer) <= 0) {
				close(streams[i].fd);
				streams[i].fd = -1;
				open_streams--;
			}
	}
}

static int64_t launch_once(enum level level)
{
	struct launch launch = {.level = level};
	siginfo_t status;
	struct rusage usage;
	int pidfd;
	int64_t start = now();

	if (level == WHOLE)
		make_cgroups(&launch);
	must(pipe2(launch.output, O_CLOEXEC), "pipe2");
	must(pipe2(launch.error, O_CLOEXEC), "pipe2");
	must(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, launch.channel), "socketpair");
	pid_t pid = give_birth(&launch, &pidfd);
	if (pid == 0)
		contain(&launch);
	close(launch.output[1]);
	close(launch.error[1]);
	close(launch.channel[1]);
	if (level >= NAMESPACES)
		prepare(pid, &launch);
	read_streams(&launch);
	must(syscall(SYS_waitid, P_PIDFD, pidfd, &status, WEXITED, &usage), "waitid");
	if (status.si_code != CLD_EXITED || status.si_status != 0) {
		fprintf(stderr, "floor: /bin/true ended with %d\n", status.si_status);
		exit(1);
	}
	close(launch.channel[0]);
	close(pidfd);
	if (level == WHOLE)
		remove_cgroups(&launch);
	return now() - start;
}

static void load_filter(const char *path)
{
	static struct sock_filter program[BPF_MAXINSNS];
	int fd = must(open(path, O_RDONLY | O_CLOEXEC), path);
	int size = must(read(fd, program, sizeof program), path);
	close(fd);
	filter.len = (unsigned short)(size / sizeof *program);
	filter.filter = program;
}

static int takes_detached_layers(void)
{
	int fd = new_mount("tmpfs", 0, NULL);
	int context = must(fsopen("overlay", FSOPEN_CLOEXEC), "overlay");
	char path[64];
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	int taken = fsconfig(context, FSCONFIG_SET_STRING, "lowerdir+", path, 0) == 0;
	close(context);
	close(fd);
	return taken;
}

int main(int argc, char **argv)
{
	int level, count;
	if (argc < 4 || argc > 5) {
		fprintf(stderr, "usage: floor ROOT FILTER CGROUP [CGROUP]\n");
		return 2;
	}
	layer = argv[1];
	cgroup_parents = argv + 3;
	cgroup_count = argc - 3;
	if (strcmp(argv[2], "-"))
		load_filter(argv[2]);
	umask(0);
	must(unshare(CLONE_NEWNS), "unshare mount namespace");
	must(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), "make mounts private");
	detached_layers = takes_detached_layers();
	while (scanf("%d %d", &level, &count) == 2)
		while (count-- > 0) {
			printf("%lld\n", (long long)launch_once((enum level)level));
			fflush(stdout);
		}
	return 0;
}
