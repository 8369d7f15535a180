/*
 * The container's side of a floor launch: from clone3 to execve, in the order of our plans.
 */
#define _GNU_SOURCE
#include "floor.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/keyctl.h>
#include <linux/openat2.h>
#include <linux/seccomp.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define HARDENED (MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC)
#define CAP(name) (1ULL << CAP_##name)

/* Docker's default set without NET_RAW, MKNOD and AUDIT_WRITE. */
static const uint64_t KEPT = CAP(CHOWN) | CAP(DAC_OVERRIDE) | CAP(FOWNER) | CAP(FSETID) |
	CAP(KILL) | CAP(NET_BIND_SERVICE) | CAP(SETFCAP) | CAP(SETGID) | CAP(SETPCAP) | CAP(SETUID) |
	CAP(SYS_CHROOT);

static const char *const MASKED[] = {
	"proc/acpi", "proc/asound", "proc/interrupts", "proc/kcore", "proc/keys", "proc/latency_stats",
	"proc/timer_list", "proc/timer_stats", "proc/sched_debug", "proc/scsi", "sys/firmware",
	"sys/devices/virtual/powercap",
};
static const char *const READ_ONLY[] = {
	"proc/bus", "proc/fs", "proc/irq", "proc/sys", "proc/sysrq-trigger",
};
static const char *const SYSCTLS[][2] = {
	{"/proc/sys/net/ipv4/ip_unprivileged_port_start", "0"},
	{"/proc/sys/net/ipv4/ping_group_range", "0 65535"},
};
/* Of version 1, in the order of argv. */
static const char *const HIERARCHIES[] = {"pids", "memory"};


/* A path inside the root, no link followed; -1 when it does not exist. */
static int open_in(int slash_fd, const char *path)
{
	struct open_how how = {
		.flags = O_PATH | O_CLOEXEC | O_NOFOLLOW,
		.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS,
	};
	int fd = (int)syscall(SYS_openat2, slash_fd, path, &how, sizeof how);
	if (fd < 0 && errno != ENOENT && errno != ENOTDIR)
		fail(path);
	return fd;
}

static void attach_in(int mount_fd, int slash_fd, const char *path)
{
	int target_fd = must(open_in(slash_fd, path), path);
	attach(mount_fd, target_fd, "");
	close(target_fd);
	close(mount_fd);
}

static void mount_cgroups(void)
{
	const char *const top = "/sys/fs/cgroup";
	unsigned long flags = MS_NOSUID | MS_NODEV | MS_NOEXEC;
	if (cgroup_count == 1) {
		must(mount("cgroup2", top, "cgroup2", flags | MS_RDONLY, NULL), "mount cgroup2");
		return;
	}
	must(mount("tmpfs", top, "tmpfs", flags, "mode=0755,size=16k"), "mount cgroups");
	for (int i = 0; i < cgroup_count; i++) {
		char target[64];
		snprintf(target, sizeof target, "%s/%s", top, HIERARCHIES[i]);
		must(mkdir(target, 0755), target);
		must(mount("cgroup", target, "cgroup", flags | MS_RDONLY, HIERARCHIES[i]), target);
	}
	must(mount(NULL, top, NULL, MS_REMOUNT | MS_RDONLY | flags, "mode=0755,size=16k"), "remount");
}

static void mask_paths(int slash_fd)
{
	struct stat facts;
	int empty_fd = -1, null_fd = must(open_in(slash_fd, "dev/null"), "/dev/null");
	must(fstat(null_fd, &facts), "/dev/null");
	if (!S_ISCHR(facts.st_mode) || facts.st_rdev != makedev(1, 3))
		fail("/dev/null is not the null device");
	for (size_t i = 0; i < COUNT_OF(MASKED); i++) {
		int target_fd = open_in(slash_fd, MASKED[i]);
		if (target_fd < 0)
			continue;
		must(fstat(target_fd, &facts), MASKED[i]);
		if (S_ISDIR(facts.st_mode) && empty_fd < 0)
			empty_fd = new_mount("tmpfs", HARDENED | MOUNT_ATTR_RDONLY, "mode", "0555", "size", "4k",
				"nr_inodes", "2", NULL);
		int source_fd = S_ISDIR(facts.st_mode) ? empty_fd : null_fd;
		int cover_fd = must(open_tree(source_fd, "", OPEN_TREE_CLONE | AT_EMPTY_PATH), MASKED[i]);
		attach(cover_fd, target_fd, "");
		close(cover_fd);
		close(target_fd);
	}
}

static void make_read_only(int slash_fd)
{
	struct mount_attr attributes = {.attr_set = MOUNT_ATTR_RDONLY};
	for (size_t i = 0; i < COUNT_OF(READ_ONLY); i++) {
		int target_fd = open_in(slash_fd, READ_ONLY[i]);
		if (target_fd < 0)
			continue;
		unsigned flags = OPEN_TREE_CLONE | AT_EMPTY_PATH | AT_RECURSIVE;
		int tree_fd = must(open_tree(target_fd, "", flags), READ_ONLY[i]);
		flags = AT_EMPTY_PATH | AT_RECURSIVE;
		must(mount_setattr(tree_fd, "", flags, &attributes, sizeof attributes), READ_ONLY[i]);
		attach(tree_fd, target_fd, "");
		close(tree_fd);
		close(target_fd);
	}
}

static void bring_loopback_up(void)
{
	struct ifreq request = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING};
	int fd = must(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), "socket");
	must(ioctl(fd, SIOCSIFFLAGS, &request), "SIOCSIFFLAGS lo");
	close(fd);
}

static void take_mounts(int channel, int fds[2])
{
	char byte, control[CMSG_SPACE(2 * sizeof(int))];
	struct iovec data = {&byte, 1};
	struct msghdr message = {
		.msg_iov = &data, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control,
	};
	if (must(recvmsg(channel, &message, MSG_CMSG_CLOEXEC), "recvmsg") == 0)
		_exit(1);
	struct cmsghdr *header = CMSG_FIRSTHDR(&message);
	if (header)
		memcpy(fds, CMSG_DATA(header), header->cmsg_len - CMSG_LEN(0));
}

static void drop_privileges(void)
{
	/* Bounding first: SETPCAP goes with the rest (capabilities(7)). */
	for (int number = 0; prctl(PR_CAPBSET_READ, number, 0, 0, 0) >= 0; number++)
		if (!(KEPT >> number & 1))
			must(prctl(PR_CAPBSET_DROP, number, 0, 0, 0), "PR_CAPBSET_DROP");
	must(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0), "PR_CAP_AMBIENT");
	struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
	struct __user_cap_data_struct data[2] = {
		{.effective = (uint32_t)KEPT, .permitted = (uint32_t)KEPT},
		{.effective = (uint32_t)(KEPT >> 32), .permitted = (uint32_t)(KEPT >> 32)},
	};
	must(syscall(SYS_capset, &header, data), "capset");
	must(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "PR_SET_NO_NEW_PRIVS");
	if (filter.len)
		must(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &filter), "seccomp");
}

static void fill_root(int slash_fd, int proc_fd, int sys_fd, int dev_fd)
{
	unsigned long flags = MS_NOSUID | MS_NOEXEC;
	attach_in(proc_fd, slash_fd, "proc");
	attach_in(sys_fd, slash_fd, "sys");
	for (size_t i = 0; i < COUNT_OF(SYSCTLS); i++)
		write_text(SYSCTLS[i][0], SYSCTLS[i][1]);
	attach_in(dev_fd, slash_fd, "dev");
	const char *options = "newinstance,ptmxmode=0666,mode=0620,gid=5";
	must(mount("devpts", "/dev/pts", "devpts", flags, options), "mount devpts");
	options = "mode=1777,size=65536k";
	must(mount("shm", "/dev/shm", "tmpfs", flags | MS_NODEV, options), "mount shm");
	must(mount("mqueue", "/dev/mqueue", "mqueue", flags | MS_NODEV, NULL), "mount mqueue");
	mount_cgroups();
	mask_paths(slash_fd);
	make_read_only(slash_fd);
}

_Noreturn void contain(struct launch *launch)
{
	enum level level = launch->level;
	int proc_fd = -1, sys_fd = -1, given[2] = {-1, -1};
	report_fd = launch->channel[1];
	/* While a copy of the parent's end is open here, the parent's death would not be seen. */
	close(launch->channel[0]);
	must(prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0), "PR_SET_PDEATHSIG");
	int null_fd = must(open("/dev/null", O_RDONLY | O_CLOEXEC), "/dev/null");
	must(dup2(null_fd, STDIN_FILENO), "dup2");
	must(dup2(launch->output[1], STDOUT_FILENO), "dup2");
	must(dup2(launch->error[1], STDERR_FILENO), "dup2");
	if (level == WHOLE && cgroup_count > 1)
		for (int i = 0; i < cgroup_count; i++)
			must(write(launch->cgroup_fds[i], "0", 1), "join the cgroup");
	if (level >= NAMESPACES)
		must(unshare(CLONE_NEWCGROUP), "unshare cgroup namespace");
	if (level == WHOLE) {
		bring_loopback_up();
		must(setsid(), "setsid");
		must(syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, NULL), "keyctl");
		must(sethostname("0123456789ab", 12), "sethostname");
		/* Now, as the old /proc and /sys prove the right to new ones. */
		proc_fd = new_mount("proc", HARDENED, NULL);
		sys_fd = new_mount("sysfs", HARDENED | MOUNT_ATTR_RDONLY, NULL);
	}
	if (level >= NAMESPACES) {
		take_mounts(launch->channel[1], given);
		must(setresgid(0, 0, 0), "setresgid");
		must(setresuid(0, 0, 0), "setresuid");
		must(setgroups(0, NULL), "setgroups");
		umask(022);
	}
	if (level >= ROOT) {
		attach(given[0], AT_FDCWD, "/");
		must(fchdir(given[0]), "fchdir");
		must(syscall(SYS_pivot_root, ".", "."), "pivot_root");
		must(umount2(".", MNT_DETACH), "umount old root");
		must(chdir("/"), "chdir");
	}
	if (level == WHOLE) {
		fill_root(must(open("/", O_PATH | O_CLOEXEC), "/"), proc_fd, sys_fd, given[1]);
		drop_privileges();
	}
	must(close_range(3, ~0U, CLOSE_RANGE_CLOEXEC), "close_range");
	char program[512], *arguments[] = {"/bin/true", NULL};
	char *environment[] = {"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", NULL};
	snprintf(program, sizeof program, "%s/bin/true", level >= ROOT ? "" : layer);
	execve(program, arguments, environment);
	fail("execve /bin/true");
	__builtin_unreachable();
}

